//! Repairs of problems with only one possible fix: a domain by a change, stale files by removing them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xen::lock::Lock;
use xen::{DomId, Host, Identity, Interrupt};

use super::{CheckReport, Finding, RepairAction, RepairOutcome, RepairReport, check, stale_files};
use crate::change::{ChangeRequest, ChangeSession, Outcome, plan_on};
use crate::diagnosis::DiagnosisKind;
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::intent::{IntentFile, Record};
use crate::memory::{Memory, Numbers, guest_may_write};
use crate::plan::MemoryRequest;
use crate::recovery::{LimitStep, Recovery, recover};

/// The repairs that [`repair`] would make, as far as can be known without a lock.
pub fn preview(host: &dyn Host, report: &CheckReport) -> Vec<(Finding, RepairOutcome)> {
    let memories: BTreeMap<Identity, &Memory> =
        report.rows.iter().map(|row| (row.domain.identity, &row.memory)).collect();
    let outcome = |finding: &Finding| match target(finding) {
        None => RepairOutcome::NotRepaired,
        Some(Target::Files(_)) => RepairOutcome::WouldRepair(RepairAction::Removed),
        Some(Target::Domain(identity)) => match memories.get(&identity).map(|it| foresee(host, it))
        {
            Some(Ok(action)) => RepairOutcome::WouldRepair(action),
            Some(Err(_)) | None => RepairOutcome::NotRepaired,
        },
    };
    report.findings.iter().map(|finding| (finding.clone(), outcome(finding))).collect()
}

/// Repairs the problems in `report`, each domain under its lock, and checks again. A domain that was locked is waited
/// for, for `lock_timeout` at most, and then checked.
pub fn repair(
    host: &dyn Host,
    report: &CheckReport,
    wanted: &[DomainRef],
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> RepairReport {
    let mut run = Repair {
        host,
        session: ChangeSession::new(host),
        lock_timeout,
        interrupt,
        actions: BTreeMap::new(),
        changes: Vec::new(),
        failures: Vec::new(),
        tried: BTreeSet::new(),
    };
    let mut findings = report.findings.clone();
    run.fix(report);
    let after =
        run.fix_unlocked(report, &mut findings).and_then(|()| check(host, wanted, interrupt));
    let (after, unchecked) = match after {
        Ok(after) => (after, None),
        Err(cause) => (report.clone(), Some(cause)),
    };
    let left: BTreeSet<FindingKey> = match unchecked {
        None => after.findings.iter().map(key).collect(),
        Some(_) => BTreeSet::new(),
    };
    let before: BTreeSet<FindingKey> = findings.iter().map(key).collect();
    let failed = run.failed();
    let outcome = |finding: &Finding| {
        match target(finding).and_then(|target| run.actions.get(&target)) {
            _ if left.contains(&key(finding)) => RepairOutcome::NotRepaired,
            // The failure may have left something that hides it.
            _ if finding.identity().is_some_and(|it| failed.contains(&it)) => {
                RepairOutcome::NotRepaired
            }
            Some(action) => RepairOutcome::Repaired(action.clone()),
            None if unchecked.is_some() => RepairOutcome::NotRepaired,
            None => RepairOutcome::Resolved,
        }
    };
    let is_new = |it: &&Finding| it.diagnosis.is_out_of_step() && !before.contains(&key(it));
    let new =
        after.findings.iter().filter(is_new).map(|it| (it.clone(), RepairOutcome::NotRepaired));
    let findings = findings.iter().map(|it| (it.clone(), outcome(it))).chain(new).collect();
    let Repair { changes, failures, .. } = run;
    RepairReport { after, unchecked, findings, changes, failures }
}

/// The object of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// A domain's numbers and its record.
    Domain(Identity),
    /// Stale files.
    Files(Identity),
}

/// The target of the repair of `finding`; `None` if it cannot be repaired.
fn target(finding: &Finding) -> Option<Target> {
    let identity = finding.identity().filter(|_| finding.diagnosis.is_repairable())?;
    Some(match finding.diagnosis.kind {
        DiagnosisKind::StaleLock | DiagnosisKind::StaleRecord => Target::Files(identity),
        _ => Target::Domain(identity),
    })
}

/// Kind, domid and identity: equal in two surveys if the finding is the same.
type FindingKey = (&'static str, Option<DomId>, Option<Identity>);

fn key(finding: &Finding) -> FindingKey {
    (finding.diagnosis.kind.word(), finding.domid, finding.identity())
}

/// One repair.
struct Repair<'a> {
    host: &'a dyn Host,
    session: ChangeSession<'a>,
    lock_timeout: Duration,
    interrupt: &'a dyn Interrupt,
    actions: BTreeMap<Target, RepairAction>,
    changes: Vec<Result<Outcome, Failure>>,
    failures: Vec<(Identity, Cause)>,
    tried: BTreeSet<Target>,
}

impl Repair<'_> {
    /// Repairs the findings of `report`, each object once.
    fn fix(&mut self, report: &CheckReport) {
        for target in report.findings.iter().filter_map(target) {
            if self.interrupt.pending() || !self.tried.insert(target) {
                continue;
            }
            match target {
                Target::Domain(identity) => self.fix_domain(report, identity),
                Target::Files(identity) => {
                    match stale_files::remove(self.host, identity, self.interrupt) {
                        Ok(()) => drop(self.actions.insert(target, RepairAction::Removed)),
                        Err(cause) => self.failures.push((identity, cause)),
                    }
                }
            }
        }
    }

    fn fix_domain(&mut self, report: &CheckReport, identity: Identity) {
        let row = report.rows.iter().find(|row| row.domain.identity == identity);
        let domain = row.map_or_else(|| identity.into(), |row| row.domain.clone());
        let request = ChangeRequest {
            domain: DomainRef::Same(domain),
            memory: MemoryRequest::Repair,
            keep_free: None,
            dry_run: false,
            lock_timeout: self.lock_timeout,
        };
        let result = self.session.change(&request, self.interrupt);
        let done = match &result {
            Ok(outcome) => Some((outcome.old(), outcome.plan.new, &outcome.recovery)),
            Err(failure) => failure.recovery_alone().map(|LimitStep { from, to }| {
                let numbers = |limit| Numbers { target: None, static_max: None, limit };
                (numbers(from), numbers(to), &failure.recovery)
            }),
        };
        if let Some((old, new, recovery)) = done {
            let action = RepairAction::Numbers { old, new, recovery: recovery.clone() };
            self.actions.insert(Target::Domain(identity), action);
        }
        self.changes.push(result);
    }

    /// The failures. A domain that went away needs no repair.
    fn failed(&self) -> BTreeSet<Identity> {
        let of_change = |result: &Result<Outcome, Failure>| match result {
            Ok(_) => None,
            Err(failure) if failure.cause.is_gone() || failure.recovery_alone().is_some() => None,
            Err(failure) => Some(failure.domain.as_ref()?.identity),
        };
        let files = self.failures.iter().map(|(identity, _)| *identity);
        self.changes.iter().filter_map(of_change).chain(files).collect()
    }

    /// Waits for the locks of the domains that were not checked, checks them, and repairs them. Findings behind a lock
    /// replace the finding of the lock.
    fn fix_unlocked(
        &mut self,
        report: &CheckReport,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Cause> {
        let unlocked = self.wait_for_locks(report);
        if unlocked.is_empty() {
            return Ok(());
        }
        let late = check(self.host, &unlocked, self.interrupt)?;
        self.fix(&late);
        let domids: BTreeSet<Option<Identity>> =
            late.rows.iter().map(|row| Some(row.domain.identity)).collect();
        findings.retain(|it| {
            !(matches!(it.diagnosis.kind, DiagnosisKind::Locked(_))
                && domids.contains(&it.identity()))
        });
        let known: BTreeSet<FindingKey> = findings.iter().map(key).collect();
        findings.extend(late.findings.into_iter().filter(|it| !known.contains(&key(it))));
        Ok(())
    }

    /// Waits until the locks of the domains that were not checked are free. Those that stay locked are failures.
    fn wait_for_locks(&mut self, report: &CheckReport) -> Vec<DomainRef> {
        let mut unlocked = Vec::new();
        for row in report.rows.iter().filter(|row| row.is_locked()) {
            let Domain { identity, .. } = row.domain;
            match Lock::take(self.host.state_dir(), identity, self.lock_timeout, self.interrupt) {
                Ok(_) => unlocked.push(DomainRef::Same(row.domain.clone())),
                Err(error) => {
                    self.changes.push(Err(Failure::unchanged(Some(row.domain.clone()), error)));
                }
            }
        }
        unlocked
    }
}

/// What a change would do to a domain with this `memory`, to repair it.
///
/// # Errors
/// It would fail.
fn foresee(host: &dyn Host, memory: &Memory) -> Result<RepairAction, Cause> {
    let old = memory.numbers()?;
    let identity = memory.info.identity;
    let store = host.connect()?;
    let guest_writes = || -> Result<bool, Cause> { Ok(guest_may_write(&*store, identity.domid)?) };
    let mut memory = memory.clone();
    let file = IntentFile::new(host.state_dir(), identity);
    let recovery = match file.read()? {
        Record::Absent => None,
        Record::Intent(intent) => {
            let (limit, recovery) = recover(&memory, &intent, guest_writes)?;
            memory.info.limit = limit;
            Some(recovery)
        }
        Record::Foreign { why } => Some(Recovery::SetAside { path: file.path().to_owned(), why }),
    };
    let new = match plan_on(host, &*store, &*store, &memory, &MemoryRequest::Repair, None) {
        Ok(plan) => plan.new,
        // The recovery takes place all the same.
        Err(Cause::Refused(_)) if recovery.is_some() => memory.numbers()?,
        Err(cause) => return Err(cause),
    };
    Ok(RepairAction::Numbers { old, new, recovery })
}
