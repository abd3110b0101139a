//! `xmem list`.

use xen::Host;
use xmem_core::domain::DomainRef;
use xmem_core::failure::Cause;
use xmem_core::survey::{Detail, Survey, survey};

use super::with_missing;
use crate::cli::{Column, Format, List};
use crate::exit::Exit;
use crate::report::{Layout, Report, sort};
use crate::usage::Usage;
use crate::values;

/// A list of domains.
pub(super) struct Task {
    wanted: Vec<DomainRef>,
    layout: Layout,
    sort: Column,
    format: Format,
}

impl Task {
    pub(super) fn of(args: &List) -> Result<Self, Usage> {
        let layout =
            Layout { columns: args.columns.clone(), bare: args.no_header, exact: args.exact };
        Ok(Self {
            wanted: values::domains(&args.domains)?,
            layout,
            sort: args.sort.unwrap_or(Column::Domid),
            format: args.format.unwrap_or(Format::Table),
        })
    }

    /// Looks and reports. A domain that does not exist does not keep the others from being listed.
    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> Exit {
        let mut seen = match self.survey(host, report) {
            Ok(seen) => seen,
            Err(cause) => return report.unanswered(cause),
        };
        sort(&mut seen.rows, self.sort);
        if !seen.rows.is_empty() || seen.missing.is_empty() {
            match self.format {
                Format::Table => report.list(&seen, &self.layout),
                Format::Openmetrics => report.metrics(&seen),
            }
        }
        for wanted in &seen.missing {
            report.missing(wanted);
        }
        with_missing(seen.missing.len(), seen.rows.len(), Exit::Done)
    }

    fn survey(&self, host: &dyn Host, report: &Report) -> Result<Survey, Cause> {
        survey(host, &*host.connect()?, &self.wanted, self.detail(report))
    }

    /// As much as is shown.
    fn detail(&self, report: &Report) -> Detail {
        let columns = self.layout.columns.iter().chain([&self.sort]);
        if report.style.json || self.format == Format::Openmetrics {
            return Detail::Reports;
        }
        let of_columns = columns.map(|column| match column {
            Column::Name
            | Column::Domid
            | Column::Uuid
            | Column::Current
            | Column::Limit
            | Column::Outstanding => Detail::Names,
            Column::Used => Detail::Reports,
            _ => Detail::Memory,
        });
        let most = of_columns.max().unwrap_or(Detail::Memory);
        // The usual columns, and the colour of a row, show findings.
        let judges = self.layout.columns.is_empty() || (!self.layout.bare && Report::is_coloured());
        if judges { most.max(Detail::Memory) } else { most }
    }
}
