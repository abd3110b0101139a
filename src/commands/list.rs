//! `xmem list`.

use xen::Host;
use xmem_core::domain::DomainRef;
use xmem_core::failure::Cause;
use xmem_core::survey::{Detail, Survey, survey};

use super::with_missing;
use crate::cli::{Column, Format, Global, List};
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
    pub(super) fn of(args: &List, global: &Global) -> Result<Self, Usage> {
        // clap does not notice a --json before the command.
        let conflict = match (args.format, &args.columns[..]) {
            (Some(_), _) if global.json => Some(("--format", "--json")),
            (_, [_, ..]) if global.json => Some(("--columns", "--json")),
            (Some(Format::Openmetrics), [_, ..]) => Some(("--columns", "--format openmetrics")),
            _ => None,
        };
        if let Some((option, other)) = conflict {
            return Err(Usage::conflict(option, other, "see `xmem list --help`".to_owned()));
        }
        let layout =
            Layout { columns: args.columns.clone(), bare: args.no_header, exact: args.exact };
        Ok(Self {
            wanted: values::domains(&args.domains)?,
            layout,
            sort: args.sort.unwrap_or(Column::Domid),
            format: args.format.unwrap_or(Format::Table),
        })
    }

    /// Lists the domains. One that does not exist does not keep the others from being listed.
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
        for missing in &seen.missing {
            report.missing(missing);
        }
        with_missing(seen.missing.len(), seen.rows.len(), Exit::Done)
    }

    fn survey(&self, host: &dyn Host, report: &Report) -> Result<Survey, Cause> {
        let detail = self.detail(report.style.json, Report::is_coloured());
        survey(host, &*host.connect()?, &self.wanted, detail)
    }

    /// The nodes to read: those that the columns show.
    fn detail(&self, json: bool, coloured: bool) -> Detail {
        let columns = self.layout.columns.iter().chain([&self.sort]);
        if json || self.format == Format::Openmetrics {
            return Detail::Reports;
        }
        let of_columns = columns.map(|column| match column {
            Column::Name
            | Column::Domid
            | Column::Uuid
            | Column::Type
            | Column::Current
            | Column::Limit
            | Column::Outstanding => Detail::Names,
            Column::Used => Detail::Reports,
            Column::Size | Column::Video | Column::Note => Detail::Findings,
            _ => Detail::Numbers,
        });
        let most = of_columns.max().unwrap_or(Detail::Numbers);
        // The default columns, and the colour of a row, show what is wrong with its numbers.
        let shows_findings = self.layout.columns.is_empty() || (!self.layout.bare && coloured);
        if shows_findings { most.max(Detail::Numbers) } else { most }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What `xmem list WORDS` reads, on a terminal with colours or without.
    fn detail(words: &str, coloured: bool) -> Detail {
        let words = ["xmem", "list"].into_iter().chain(words.split_whitespace());
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::List(args) = &cli.command else { unreachable!() };
        Task::of(args, &cli.global).unwrap().detail(cli.global.json, coloured)
    }

    #[test]
    fn a_list_reads_only_what_it_shows() {
        for (words, expected) in [
            ("", Detail::Numbers),
            ("--sort current", Detail::Numbers),
            ("-o name,domid,uuid,type,current,limit,outstanding", Detail::Names),
            ("-o name --sort target", Detail::Numbers),
            ("-o name,state", Detail::Numbers),
            ("-o name,note", Detail::Findings),
            ("--sort note", Detail::Findings),
            ("-o name,size", Detail::Findings),
            ("-o name,video", Detail::Findings),
            ("-o name,used", Detail::Reports),
            ("-o name --sort used", Detail::Reports),
            ("--json", Detail::Reports),
            ("--format openmetrics", Detail::Reports),
        ] {
            assert_eq!(detail(words, false), expected, "{words:?}");
        }
        // A row's colour shows a finding; a list for scripts has no colours.
        assert_eq!(detail("-o name", true), Detail::Numbers);
        assert_eq!(detail("-o name --no-header", true), Detail::Names);
    }
}
