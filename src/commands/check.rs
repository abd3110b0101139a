//! `xmem check`.

use std::time::Duration;

use xen::Host;
use xmem_core::check::{Finding, RepairOutcome, RepairReport, check, preview, repair};
use xmem_core::domain::DomainRef;
use xmem_core::failure::Failure;

use super::{record, with_missing};
use crate::cli::{Check, Global};
use crate::exit::Exit;
use crate::report::{Checked, Report, is_open};
use crate::signals::Signals;
use crate::usage::Usage;
use crate::values;

/// A check, with a repair if requested.
pub(super) struct Task {
    wanted: Vec<DomainRef>,
    repair: Repair,
}

enum Repair {
    No,
    DryRun,
    Within(Duration),
}

impl Task {
    pub(super) fn of(args: &Check, global: &Global) -> Result<Self, Usage> {
        let lock_timeout = values::lock_timeout(global.lock_timeout.as_deref())?;
        Ok(Self {
            wanted: values::domains(&args.domains)?,
            repair: match (args.repair, args.dry_run) {
                (false, _) => Repair::No,
                (true, true) => Repair::DryRun,
                (true, false) => Repair::Within(lock_timeout),
            },
        })
    }

    pub(super) const fn changes(&self) -> bool {
        matches!(self.repair, Repair::Within(_))
    }

    /// Checks, repairs if requested, and reports.
    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        let signals = if self.changes() { Signals::held(report)? } else { Signals::free(report) };
        let found = match check(host, &self.wanted, &signals) {
            Ok(found) => found,
            Err(cause) => return Ok(report.unanswered(cause)),
        };
        Ok(match self.repair {
            Repair::No => {
                let as_found = |finding: &Finding| (finding.clone(), RepairOutcome::NotRepaired);
                let findings: Vec<_> = found.findings.iter().map(as_found).collect();
                let checked = Checked { report: &found, findings: &findings, is_final: true };
                finish(&checked, &[], report)
            }
            Repair::DryRun => {
                let findings = preview(host, &found);
                let checked = Checked { report: &found, findings: &findings, is_final: true };
                finish(&checked, &[], report)
            }
            Repair::Within(timeout) => {
                let RepairReport { after, unchecked, findings, changes, failures } =
                    repair(host, &found, &self.wanted, timeout, &signals);
                for result in &changes {
                    record(report, result.as_ref());
                }
                let failures = failures
                    .into_iter()
                    .map(|(identity, cause)| Failure::unchanged(Some(identity.into()), cause));
                let is_final = unchecked.is_none();
                let failures: Vec<Failure> = changes
                    .into_iter()
                    .filter_map(Result::err)
                    .filter(|failure| failure.recovery_alone().is_none())
                    .chain(failures)
                    .chain(unchecked.map(|cause| Failure::read_only(None, cause)))
                    .collect();
                let checked = Checked { report: &after, findings: &findings, is_final };
                finish(&checked, &failures, report)
            }
        })
    }
}

/// Reports the findings, the failures and the summary. The exit code is 9 if anything is or may be out of step, else
/// that of the failures.
fn finish(checked: &Checked<'_>, failures: &[Failure], report: &Report) -> Exit {
    let Checked { report: result, findings, .. } = checked;
    let missing = &result.missing;
    report.findings(checked);
    // A domain that went away needs no repair.
    let failures = failures.iter().filter(|failure| !failure.cause.is_gone());
    let exits: Vec<Exit> = failures.map(|failure| report.failure(failure, None)).collect();
    for missing in missing {
        report.missing(missing);
    }
    if missing.is_empty() || !result.rows.is_empty() || report.style.json {
        report.summary(checked);
    }
    let is_out_of_step = findings
        .iter()
        .any(|(finding, outcome)| is_open(outcome) && finding.diagnosis.is_out_of_step());
    if is_out_of_step || exits.contains(&Exit::OutOfStep) {
        return Exit::OutOfStep;
    }
    with_missing(missing.len(), result.rows.len(), Exit::of_all(&exits))
}
