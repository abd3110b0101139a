//! The problems of a host, in its domains, libxl's state directory and xenstore; and the repair of those that have only
//! one possible fix.

mod orphans;
mod repair;
mod stale_files;

use std::fs;
use std::io;
use std::time::Duration;

use xen::xenstore::Store;
use xen::{DomId, Host, Identity, Interrupt};

pub use self::repair::{preview, repair};
use crate::change::Outcome;
use crate::diagnosis::{Diagnosis, DiagnosisKind};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::memory::{Numbers, guest_may_write};
use crate::recovery::Recovery;
use crate::resolve::Missing;
use crate::state::State;
use crate::survey::{self, Detail, Row, StateFiles};

/// The most surveys of a domain that looks out of step, and the pause between two. A change that is made between two
/// reads looks out of step; a real problem is found again.
const MAX_SURVEYS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// A finding, and its domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The domid, also of a domain that is gone; `None` if the finding is about the host.
    pub domid: Option<DomId>,
    /// The domain, alive or gone, if more than its domid is known.
    pub domain: Option<Domain>,
    /// The finding.
    pub diagnosis: Diagnosis,
}

impl Finding {
    fn of(domain: &Domain, diagnosis: Diagnosis) -> Self {
        Self { domid: Some(domain.identity.domid), domain: Some(domain.clone()), diagnosis }
    }

    fn identity(&self) -> Option<Identity> {
        self.domain.as_ref().map(|domain| domain.identity)
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The domains that were surveyed.
    pub rows: Vec<Row>,
    /// The number of domains that were not checked because their lock is held.
    pub locked: usize,
    /// The number of domains that were not checked because they are being built.
    pub building: usize,
    /// All findings: first those about domains, by domid and severity, then those about stale files and nodes.
    pub findings: Vec<Finding>,
    /// The requested domains that do not exist.
    pub missing: Vec<Missing>,
}

impl CheckReport {
    /// The number of domains that were checked.
    pub fn checked(&self) -> usize {
        self.rows.iter().filter(|row| row.is_checked()).count()
    }
}

/// The result of a repair for one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// It is left as it was.
    NotRepaired,
    /// It would be fixed.
    WouldRepair(RepairAction),
    /// It is fixed.
    Repaired(RepairAction),
    /// It went away by itself, or another program fixed it.
    Resolved,
}

/// How a finding is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairAction {
    /// The domain's numbers change, or an intent record is removed, or both.
    Numbers {
        /// Before.
        old: Numbers,
        /// After.
        new: Numbers,
        /// The recovery from a killed run.
        recovery: Option<Recovery>,
    },
    /// The file is removed.
    Removed,
}

/// The result of a repair.
#[derive(Debug)]
pub struct RepairReport {
    /// The state after the repair, whose findings are the remaining and the new ones; the state before it if the host
    /// could not be checked again.
    pub after: CheckReport,
    /// Why the host could not be checked again. Findings without a repair then count as not repaired.
    pub unchecked: Option<Cause>,
    /// Every finding from before, with its outcome; then those that have come out of step since.
    pub findings: Vec<(Finding, RepairOutcome)>,
    /// The changes and the failures, per domain. A lock that could not be taken is a failure.
    pub changes: Vec<Result<Outcome, Failure>>,
    /// Files that could not be removed.
    pub failures: Vec<(Identity, Cause)>,
}

/// Checks the domains that `wanted` names, or the whole host if it is empty. Takes no lock and changes nothing.
/// Findings are confirmed by a second survey.
///
/// # Errors
/// xenstore, the hypervisor or the state directory do not answer, or the caller interrupts.
pub fn check(
    host: &dyn Host,
    wanted: &[DomainRef],
    interrupt: &dyn Interrupt,
) -> Result<CheckReport, Cause> {
    // Without the directory's files, an interrupted change would not be found.
    let dir = host.state_dir();
    // So it must be listed and searched. One that does not exist has no files.
    match StateFiles::list(dir).and_then(|_| fs::metadata(dir.join("."))) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(Cause::StateDir { path: dir.to_owned(), source });
        }
        _ => {}
    }
    let store = host.connect()?;
    let (mut rows, mut missing) = survey::rows_of(host, &*store, wanted, Detail::Findings)?;
    let seen = rows.len();
    confirm(host, &*store, &mut rows, interrupt)?;
    if rows.len() < seen {
        missing = survey::missing_of(host, &*store, wanted)?;
    }
    for row in &mut rows {
        distrust_guest(host, &*store, row)?;
    }
    let mut findings: Vec<Finding> = rows
        .iter()
        .flat_map(|row| row.findings.iter().map(|it| Finding::of(&row.domain, it.clone())))
        .collect();
    if wanted.is_empty() {
        findings.extend(stale_files::find(host, &rows)?);
        // libxl creates a domain and its nodes in several steps.
        if !rows.iter().any(|row| row.state == State::Building) {
            findings.extend(orphans::find(host, &*store)?);
        }
    }
    let locked = rows.iter().filter(|row| row.is_locked()).count();
    let building = rows.iter().filter(|row| row.state == State::Building).count();
    Ok(CheckReport { rows, locked, building, findings, missing })
}

/// Surveys domains with findings again until two surveys agree.
fn confirm(
    host: &dyn Host,
    store: &dyn Store,
    rows: &mut Vec<Row>,
    interrupt: &dyn Interrupt,
) -> Result<(), Cause> {
    let mut doubtful: Vec<Identity> = rows
        .iter()
        .filter(|row| row.findings.iter().any(|it| !it.kind.is_about_now()))
        .map(|row| row.domain.identity)
        .collect();
    for _ in 1..MAX_SURVEYS {
        if doubtful.is_empty() {
            break;
        }
        if interrupt.sleep(PAUSE) {
            return Err(Cause::Interrupted);
        }
        let before = out_of_step(rows);
        survey::read_again(host, store, rows, &doubtful, Detail::Findings)?;
        let now = out_of_step(rows);
        // Only domains out of step need a third survey.
        doubtful =
            if now == before { Vec::new() } else { now.into_iter().map(|(it, _)| it).collect() };
        doubtful.dedup();
    }
    Ok(())
}

fn out_of_step(rows: &[Row]) -> Vec<(Identity, DiagnosisKind)> {
    let of = |row: &Row| -> Vec<_> {
        let grave = row.findings.iter().filter(|it| it.is_out_of_step());
        grave.map(|it| (row.domain.identity, it.kind.clone())).collect()
    };
    rows.iter().flat_map(of).collect()
}

/// Withdraws a fix that relies on nodes that the guest can write.
fn distrust_guest(host: &dyn Host, store: &dyn Store, row: &mut Row) -> Result<(), Cause> {
    let relies_on_nodes = |it: &Diagnosis| match it.kind {
        DiagnosisKind::LimitTooLow => it.is_repairable(),
        DiagnosisKind::TargetAboveMaximum => true,
        _ => false,
    };
    if row.findings.iter().any(relies_on_nodes) && guest_may_write(store, row.memory.domid())? {
        let without = survey::findings_if_the_guest_writes(host, row);
        for finding in &mut row.findings {
            if let Some(anew) = without.iter().find(|it| it.kind == finding.kind) {
                finding.clone_from(anew);
            }
        }
    }
    Ok(())
}
