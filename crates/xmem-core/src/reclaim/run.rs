//! Carrying out a plan: rounds of shrinking, waiting and planning again.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use xen::{Host, Identity, Interrupt, Kib};

use super::planning::{available, exclusion, look};
use super::{
    DonorReport, Exclusion, Floor, FloorReason, ReclaimEnd, ReclaimEvent, ReclaimPlan, ReclaimReport,
    ReclaimRequest,
};
use crate::change::{ChangeRequest, ChangeSession, ChangeStatus, Outcome};
use crate::domain::DomainRef;
use crate::failure::Cause;
use crate::plan::{MemoryRequest, TOLERANCE};
use crate::wait::{WaitEnd, WaitEvent, WaitPolicy, wait};

/// See [`super::reclaim`].
pub(super) fn run(
    host: &dyn Host,
    plan: ReclaimPlan,
    request: &ReclaimRequest,
    interrupt: &dyn Interrupt,
    on_event: &mut dyn FnMut(ReclaimEvent),
) -> ReclaimReport {
    let report = |donor: &super::Donor| DonorReport {
        donor: donor.clone(),
        asked: None,
        held: donor.held,
        exclusion: donor.exclusion.clone(),
        restored: false,
    };
    let donors: Vec<DonorReport> = plan.donors.iter().map(report).collect();
    let taken = vec![None; donors.len()];
    let session = ChangeSession::new(host);
    let mut run = Run { host, request, session, interrupt, on_event, plan, donors, taken };
    let end = match run.rounds() {
        Ok(end) => end,
        Err(cause) => ReclaimEnd::Unreachable(cause),
    };
    if request.or_restore && !matches!(end, ReclaimEnd::Reached | ReclaimEnd::NotEnough { .. }) {
        run.restore();
    }
    let Run { plan: ReclaimPlan { goal, available, .. }, donors, .. } = run;
    ReclaimReport { end, goal, available, donors }
}

struct Run<'a> {
    host: &'a dyn Host,
    request: &'a ReclaimRequest,
    session: ChangeSession<'a>,
    interrupt: &'a dyn Interrupt,
    on_event: &'a mut dyn FnMut(ReclaimEvent),
    /// As last seen.
    plan: ReclaimPlan,
    donors: Vec<DonorReport>,
    /// What this run took from each donor.
    taken: Vec<Option<Taken>>,
}

/// A target that this run lowered.
#[derive(Clone, Copy)]
struct Taken {
    /// The size before.
    size: Kib,
    /// The target that was set last.
    target: Kib,
}

impl Run<'_> {
    fn rounds(&mut self) -> Result<ReclaimEnd, Cause> {
        let mut is_first = true;
        loop {
            if self.plan.available >= self.plan.goal {
                return Ok(ReclaimEnd::Reached);
            }
            if !self.plan.is_enough() {
                let possible = self.plan.possible();
                let nothing_changed = is_first;
                return Ok(if nothing_changed {
                    ReclaimEnd::NotEnough { possible }
                } else {
                    ReclaimEnd::FellShort
                });
            }
            if self.interrupt.pending() {
                return Ok(ReclaimEnd::Interrupted);
            }
            (self.on_event)(ReclaimEvent::Planned(self.plan.clone()));
            let changed = self.change_all();
            self.wait_for(&changed);
            self.plan_again()?;
            is_first = false;
        }
    }

    /// Lowers the targets of all that have a share, and asks those for nothing more that are on their way already.
    fn change_all(&mut self) -> Vec<(usize, Outcome)> {
        let mut changed = Vec::new();
        let asked: Vec<(usize, Identity, Kib)> = (0..)
            .zip(self.plan.donors.iter().zip(&self.plan.shares))
            .filter(|(_, (donor, share))| **share > Kib(0) || donor.coming() > Kib(0))
            .map(|(index, (donor, share))| {
                let size = donor.settled().minus(*share).unwrap_or_default();
                (index, donor.domain.identity, Kib::from_pages(size.pages()))
            })
            .collect();
        for (index, identity, size) in asked {
            let request = self.request_for(identity, MemoryRequest::Shrink { size });
            match self.session.change(&request, self.interrupt) {
                Ok(outcome) => {
                    self.took(index, &outcome);
                    (self.on_event)(ReclaimEvent::Changed(index, outcome.clone()));
                    changed.push((index, outcome));
                }
                Err(failure) => {
                    if !matches!(failure.cause, Cause::Interrupted) {
                        self.exclude(index, Exclusion::NotChanged);
                    }
                    (self.on_event)(ReclaimEvent::NotChanged(index, failure));
                }
            }
        }
        changed
    }

    /// Records what a change took.
    fn took(&mut self, index: usize, outcome: &Outcome) {
        if let Some(report) = self.donors.get_mut(index) {
            report.asked = Some(outcome.plan.wanted);
        }
        let (Some(taken), Some(target)) = (self.taken.get_mut(index), outcome.plan.new.target) else {
            return;
        };
        if outcome.status == ChangeStatus::Changed {
            let size = taken.map_or(outcome.plan.old_size(), |earlier| earlier.size);
            *taken = Some(Taken { size, target });
        }
    }

    /// Waits until each guest has reached its target, has stopped, or the host has enough.
    fn wait_for(&mut self, changed: &[(usize, Outcome)]) {
        let outcomes: Vec<&Outcome> = changed.iter().map(|(_, outcome)| outcome).collect();
        let policy = WaitPolicy {
            patience: self.request.patience,
            at_most: None,
            within: TOLERANCE,
            lock_timeout: self.request.lock_timeout,
        };
        let goal = self.plan.goal;
        let until = UntilEnough { host: self.host, goal, interrupt: self.interrupt, has: Cell::new(false) };
        let mut gave_less = Vec::new();
        let on_event = &mut *self.on_event;
        wait(self.host, &outcomes, policy, &until, &mut |place, event| {
            let Some((index, _)) = changed.get(place) else { return };
            if let WaitEvent::Ended(report) = &event {
                match &report.end {
                    WaitEnd::Reached | WaitEnd::Interrupted => {}
                    // Another reclaim needs more of it.
                    WaitEnd::TargetChanged { now: Some(now) } if *now < report.target => {}
                    WaitEnd::Gone { .. } => gave_less.push((*index, Exclusion::Gone)),
                    _ => gave_less.push((*index, Exclusion::GaveLess)),
                }
            }
            on_event(ReclaimEvent::Wait(*index, event));
        });
        for (index, exclusion) in gave_less {
            self.exclude(index, exclusion);
        }
    }

    /// The donor gives nothing more in this run.
    fn exclude(&mut self, index: usize, exclusion: Exclusion) {
        if let Some(report) = self.donors.get_mut(index) {
            report.exclusion.get_or_insert(exclusion);
        }
    }

    /// Looks at the host and at all donors, and plans what is still needed.
    fn plan_again(&mut self) -> Result<(), Cause> {
        let store = self.host.connect()?;
        let which: Vec<Identity> =
            self.donors.iter().map(|report| report.donor.domain.identity).collect();
        let rows = if which.is_empty() { Vec::new() } else { look(self.host, &*store, &which)? };
        let mut donors = std::mem::take(&mut self.plan.donors);
        for (donor, report) in donors.iter_mut().zip(&mut self.donors) {
            let Some(row) = rows.iter().find(|row| row.domain.identity == donor.domain.identity) else {
                report.exclusion = Some(Exclusion::Gone);
                (donor.held, report.held) = (Kib(0), Kib(0));
                donor.exclusion.clone_from(&report.exclusion);
                continue;
            };
            donor.held = row.memory.info.current;
            donor.size = row.memory.size().unwrap_or(donor.held);
            donor.state = row.state;
            // What it uses can have grown since.
            let used = row.used.map(|used| Floor { size: super::margin(used), reason: FloorReason::Used(used) });
            if let Some(floor) = used.filter(|floor| floor.size > donor.floor.size) {
                donor.floor = floor;
            }
            donor.exclusion = report.exclusion.clone().or_else(|| exclusion(row));
            report.held = donor.held;
        }
        let available = available(self.host)?;
        self.plan = ReclaimPlan::new(self.plan.goal, available, donors, self.request.priority);
        Ok(())
    }

    /// Sets the old target again of every guest whose target is still the one that this run set, the last one first.
    fn restore(&mut self) {
        for index in (0..self.taken.len()).rev() {
            let Some(Taken { size, target }) = self.taken.get(index).copied().flatten() else { continue };
            let Some(report) = self.donors.get_mut(index) else { continue };
            let identity = report.donor.domain.identity;
            let request = self.request_for(identity, MemoryRequest::Restore { size, from: target });
            // Giving back is not to be interrupted: it is what the user asked for if the run fails.
            let result = self.session.change(&request, &Uninterrupted(self.interrupt));
            if let Some(report) = self.donors.get_mut(index) {
                report.restored =
                    result.as_ref().is_ok_and(|it| it.status == ChangeStatus::Changed);
            }
            (self.on_event)(ReclaimEvent::Restored(index, result));
        }
    }

    const fn request_for(&self, identity: Identity, memory: MemoryRequest) -> ChangeRequest {
        ChangeRequest {
            domain: DomainRef::Same(identity),
            memory,
            keep_free: None,
            dry_run: false,
            lock_timeout: self.request.lock_timeout,
        }
    }
}

/// Ends a wait also when the host has enough.
struct UntilEnough<'a> {
    host: &'a dyn Host,
    goal: Kib,
    interrupt: &'a dyn Interrupt,
    has: Cell<bool>,
}

impl Interrupt for UntilEnough<'_> {
    fn pending(&self) -> bool {
        self.has.get() || self.interrupt.pending()
    }

    fn sleep(&self, time: Duration) -> bool {
        let is_interrupted = self.interrupt.sleep(time);
        self.has.set(available(self.host).is_ok_and(|available| available >= self.goal));
        is_interrupted || self.has.get()
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.interrupt.waiting_for(what);
    }
}

/// Never interrupts, but reports what is waited for.
struct Uninterrupted<'a>(&'a dyn Interrupt);

impl Interrupt for Uninterrupted<'_> {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, time: Duration) -> bool {
        std::thread::sleep(time);
        false
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.0.waiting_for(what);
    }
}
