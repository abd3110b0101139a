//! Everything that is wrong on a host: in its domains, in libxl's state directory, in xenstore; and fixing what has only
//! one possible fix.

use std::time::Duration;

use xen::{Host, Identity, Interrupt};

use crate::change::Outcome;
use crate::diagnosis::Diagnosis;
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::memory::Numbers;
use crate::recovery::Recovery;
use crate::survey::Row;

/// A finding, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The domain, alive or gone; `None` if it is about the host.
    pub domain: Option<Domain>,
    /// What.
    pub diagnosis: Diagnosis,
}

/// What was found.
#[derive(Debug)]
pub struct CheckReport {
    /// The domains that were looked at.
    pub rows: Vec<Row>,
    /// How many of them were not judged, since their lock is held.
    pub locked: usize,
    /// How many of them were not judged, since they are being built.
    pub building: usize,
    /// All findings: first those about domains, by domid and gravity, then those about what others left.
    pub findings: Vec<Finding>,
    /// The domains that were asked for and are not there.
    pub missing: Vec<DomainRef>,
}

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// It is as it was.
    NotRepaired,
    /// It would be fixed.
    WouldRepair(RepairAction),
    /// It is fixed.
    Repaired(RepairAction),
    /// It is no longer so, without our doing.
    Resolved,
}

/// How a finding is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairAction {
    /// The domain's numbers change, or an intent record goes, or both.
    Numbers {
        /// Before.
        old: Numbers,
        /// After.
        new: Numbers,
        /// What a killed run left, and what becomes of it.
        recovery: Option<Recovery>,
    },
    /// The file is removed.
    Removed,
}

/// What repairing came to.
#[derive(Debug)]
pub struct RepairReport {
    /// The state after the repair; its findings are those that are left or new.
    pub after: CheckReport,
    /// Every finding from before, and what became of it.
    pub findings: Vec<(Finding, RepairOutcome)>,
    /// What was done, or not, to each domain.
    pub changes: Vec<Result<Outcome, Failure>>,
    /// Files that could not be removed.
    pub failures: Vec<(Identity, Cause)>,
}

/// Checks the domains that `wanted` names, or the whole host if it is empty. Takes no lock and changes nothing; what looks
/// out of step is confirmed by further looks.
///
/// # Errors
/// xenstore, the hypervisor or the state directory do not answer.
pub fn check(
    host: &dyn Host,
    wanted: &[DomainRef],
    interrupt: &dyn Interrupt,
) -> Result<CheckReport, Cause> {
    let _ = (host, wanted, interrupt);
    todo!()
}

/// What [`repair`] would do, as far as can be said without a lock.
pub fn preview(host: &dyn Host, report: &CheckReport) -> Vec<(Finding, RepairOutcome)> {
    let _ = (host, report);
    todo!()
}

/// Fixes what can be fixed of `report`, each domain under its lock, and checks again.
///
/// # Errors
/// The host does not answer any more.
pub fn repair(
    host: &dyn Host,
    report: &CheckReport,
    wanted: &[DomainRef],
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> Result<RepairReport, Cause> {
    let _ = (host, report, wanted, lock_timeout, interrupt);
    todo!()
}
