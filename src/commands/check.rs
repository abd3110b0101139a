//! `xmem check`.

use std::path::Path;
use std::time::Duration;

use xmem::audit;
use xmem::check::{Fate, Finding, Repaired, check, foresee, repair};
use xmem::domain::DomainRef;
use xmem::error::{After, Cause, Exit, Failure};
use xmem::host::Host;
use xmem::signals::Signals;

use super::change::{domain, duration};
use crate::cli::Check;
use crate::report::{Report, Usage};

/// What was asked for.
pub(super) struct Asked {
    wanted: Vec<DomainRef>,
    mending: Mending,
}

enum Mending {
    No,
    DryRun,
    Within(Duration),
}

impl Asked {
    pub(super) const fn only_looks(&self) -> bool {
        !matches!(self.mending, Mending::Within(_))
    }
}

/// Makes sense of what was typed.
pub(super) fn asked(typed: &Check) -> Result<Asked, Usage> {
    let lock_timeout = duration("lock timeout", &typed.lock_timeout)?;
    Ok(Asked {
        wanted: typed.domains.iter().map(|text| domain(text)).collect::<Result<_, _>>()?,
        mending: match (typed.repair, typed.dry_run) {
            (false, _) => Mending::No,
            (true, true) => Mending::DryRun,
            (true, false) => Mending::Within(lock_timeout),
        },
    })
}

/// Looks, mends if asked to, and tells. That something is out of step in the end is what the exit code
/// says first, and only then what could not be done about the rest.
pub(super) fn run<H: Host>(host: &H, asked: &Asked, report: &Report) -> anyhow::Result<Exit> {
    let unseen = |cause| Failure { domain: None, cause, after: After::ReadOnly };
    let found = match check(host, &asked.wanted) {
        Ok(found) => found,
        Err(cause) => return report.failure(&unseen(cause)),
    };
    // Signals wait until the result has been told.
    let mut signals = Signals::default();
    let mut exits = Vec::new();
    let findings: Vec<(Finding, Fate)> = match asked.mending {
        Mending::No => found.findings.iter().map(|it| (it.clone(), Fate::Left)).collect(),
        Mending::DryRun => foresee(host, &found),
        Mending::Within(timeout) => {
            match repair(host, &found, &asked.wanted, timeout, &mut signals) {
                Ok(repaired) => {
                    exits = failures(host, &repaired, report)?;
                    repaired.findings
                }
                Err(cause) => return report.failure(&unseen(cause)),
            }
        }
    };
    report.checked(found.rows.len(), &findings)?;
    for wanted in &found.missing {
        report.missing(wanted)?;
    }
    if findings.iter().any(|(finding, fate)| fate.is_open() && finding.is_out_of_step()) {
        return Ok(Exit::OutOfStep);
    }
    Ok(match (exits.first(), found.missing.is_empty(), found.rows.is_empty()) {
        (Some(exit), ..) => *exit,
        (None, true, _) => Exit::Done,
        (None, false, true) => Exit::NoDomain,
        (None, false, false) => Exit::SomeFailed,
    })
}

/// Logs what was done, and tells what could not be done.
fn failures<H: Host>(host: &H, done: &Repaired, report: &Report) -> anyhow::Result<Vec<Exit>> {
    if !host.simulated() {
        for result in &done.changes {
            audit::record(result, Path::new(audit::SOCKET));
        }
    }
    let failed = done.changes.iter().filter_map(|result| result.as_ref().err());
    // One that went away needs no mending.
    let failed = failed.filter(|failure| !matches!(failure.cause, Cause::Gone));
    failed.chain(&done.failures).map(|failure| report.failure(failure)).collect()
}
