//! `xmem list`.

use xen::Host;
use xmem_core::domain::DomainRef;
use xmem_core::failure::Cause;
use xmem_core::survey::{Survey, UsedMemory, survey};

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
        let shows_used = report.style.json
            || self.format == Format::Openmetrics
            || self.layout.columns.contains(&Column::Used)
            || self.sort == Column::Used;
        let used = if shows_used { UsedMemory::Read } else { UsedMemory::Skip };
        survey(host, &*host.connect()?, &self.wanted, used)
    }
}
