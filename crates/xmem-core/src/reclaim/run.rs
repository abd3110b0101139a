//! Execution of a plan: rounds of shrinking, waiting and planning again.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use xen::{Host, Identity, Interrupt, Kib, Mib};

use super::planning::{available, exclusion, read_rows};
use super::{
    Donor, DonorReport, Exclusion, Floor, ReclaimEnd, ReclaimEvent, ReclaimPlan, ReclaimReport,
    ReclaimRequest,
};
use crate::change::{ChangeRequest, ChangeSession, ChangeStatus, HeldOff, Outcome};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Aftermath, Cause, Failure};
use crate::plan::{Condition, LimitRule, MemoryRequest, TOLERANCE};
use crate::size::{Amount, Size};
use crate::wait::{Clock, WaitEnd, WaitEvent, WaitPolicy, WaitReport, wait_by};

/// Another run has finished its changes when no limit has changed for this long: a change takes some 10 ms.
const QUIET: Duration = Duration::from_millis(100);
/// The most times of [`QUIET`] to wait for that before each change.
const MAX_PAUSES: usize = 50;
/// How long to wait for guests that are within [`TOLERANCE`] of their targets and do not move.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Carries out `plan`: shrinks the guests, waits for them, and plans again until the host has enough or no guest can
/// give more. A plan that is not enough changes nothing.
pub fn reclaim(
    host: &dyn Host,
    plan: ReclaimPlan,
    request: &ReclaimRequest,
    interrupt: &dyn Interrupt,
    on_event: &mut dyn FnMut(ReclaimEvent),
) -> ReclaimReport {
    let report = |donor: &Donor| DonorReport {
        donor: donor.clone(),
        asked: None,
        changed: false,
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
    /// At the last poll.
    plan: ReclaimPlan,
    donors: Vec<DonorReport>,
    /// The targets that this run lowered.
    taken: Vec<Option<Taken>>,
}

/// A target that this run lowered.
#[derive(Clone, Copy)]
struct Taken {
    /// The size before.
    before: Kib,
    /// The size that was set last.
    size: Kib,
    /// The target of that size.
    target: Kib,
    /// The limit before, and the one that was set last.
    limit_before: Kib,
    limit: Kib,
}

impl Taken {
    /// `failure` to restore the size before. Whatever it left of itself, the size that was set last stays, unless the
    /// domain is gone or may be out of step.
    fn not_restored(self, failure: Failure) -> Failure {
        match failure.aftermath {
            Aftermath::OutOfStep { .. } => failure,
            _ if failure.cause.is_gone() => failure,
            _ => {
                let Self { before, size, .. } = self;
                Failure { aftermath: Aftermath::NotRestored { before, size }, ..failure }
            }
        }
    }
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
                // The first plan has changed nothing.
                return Ok(if is_first {
                    ReclaimEnd::NotEnough { possible }
                } else {
                    ReclaimEnd::FellShort
                });
            }
            if self.interrupt.pending() {
                return Ok(ReclaimEnd::Interrupted);
            }
            (self.on_event)(ReclaimEvent::Planned(self.plan.clone()));
            let changed = self.change_all()?;
            self.wait_for(&changed);
            self.wait_for_the_rest(&changed)?;
            self.plan_again(0)?;
            is_first = false;
        }
    }

    /// Lowers the targets of all donors with a share. Returns those to wait for, which include donors that are still
    /// shrinking to a target set before.
    fn change_all(&mut self) -> Result<Vec<(usize, Outcome)>, Cause> {
        let mut changed = Vec::new();
        for index in 0..self.donors.len() {
            self.let_others_finish(index)?;
            // A further change is useless if the memory cannot be enough.
            if self.interrupt.pending() || !self.plan.is_enough() {
                break;
            }
            let Some((domain, size)) = self.asked(index) else { continue };
            let request =
                self.request_for(domain, set_if(Condition::Lowers, size, LimitRule::Follows));
            match self.session.change(&request, self.interrupt) {
                Ok(outcome) => {
                    self.record(index, &outcome);
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
        Ok(changed)
    }

    /// Waits until no other program changes the donors' limits, and plans again, for the donors at `from` and behind
    /// it.
    ///
    /// Another reclaim may be shrinking the same guests. A plan made in the middle of that would take more from those
    /// that it has shrunk already, and both together would take more than either needs.
    fn let_others_finish(&mut self, from: usize) -> Result<(), Cause> {
        // A guest that shrinks before this run has changed it was changed by another program.
        let mut is_disturbed = from == 0 && self.plan.coming() > Kib(0);
        for _ in 0..MAX_PAUSES {
            if self.is_out_of_date()? {
                is_disturbed = true;
                self.plan_again(from)?;
                (self.on_event)(ReclaimEvent::Planned(self.plan.clone()));
            }
            if !std::mem::take(&mut is_disturbed) || self.interrupt.sleep(QUIET) {
                break;
            }
        }
        Ok(())
    }

    /// The new size of a donor; `None` if it gives nothing.
    fn asked(&self, index: usize) -> Option<(Domain, Kib)> {
        let (donor, share) = self.plan.donors.get(index).zip(self.plan.shares.get(index))?;
        let gives = *share > Kib(0) || donor.coming() > Kib(0);
        gives.then(|| (donor.domain.clone(), donor.size_after(*share)))
    }

    /// Whether another program has changed a donor's limit since it was read. A new target comes with a new limit, and
    /// one hypercall reads the limits of all donors.
    fn is_out_of_date(&self) -> Result<bool, Cause> {
        let infos = self.host.hypervisor().domains()?;
        let limits: HashMap<Identity, Kib> =
            infos.iter().map(|info| (info.identity, info.limit)).collect();
        let is_changed = |donor: &Donor| {
            limits.get(&donor.domain.identity).is_some_and(|limit| *limit != donor.limit)
        };
        Ok(self.plan.donors.iter().any(is_changed))
    }

    /// Records a donor's new size and limit, and the old ones to restore.
    fn record(&mut self, index: usize, outcome: &Outcome) {
        if let Some(report) = self.donors.get_mut(index) {
            report.asked = Some(outcome.plan.wanted);
            report.changed |= outcome.is_change();
        }
        if let Some(donor) = self.plan.donors.get_mut(index) {
            (donor.size, donor.limit) = (outcome.plan.wanted, outcome.plan.new.limit);
        }
        let (Some(taken), Some(target)) = (self.taken.get_mut(index), outcome.plan.new.target)
        else {
            return;
        };
        if outcome.status == ChangeStatus::Changed {
            let (old, limit) = (outcome.plan.old, outcome.plan.new.limit);
            // What another program has set since this run's last change is to be restored, not what was there before.
            let before = taken
                .filter(|earlier| Some(earlier.target) == old.target)
                .map_or_else(|| outcome.plan.old_size(), |earlier| earlier.before);
            let limit_before = taken
                .filter(|earlier| earlier.limit == old.limit)
                .map_or(old.limit, |earlier| earlier.limit_before);
            let size = outcome.plan.wanted;
            *taken = Some(Taken { before, size, target, limit_before, limit });
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
        let until = UntilEnough {
            host: self.host,
            goal,
            interrupt: self.interrupt,
            slept: Cell::default(),
            has: Cell::new(false),
        };
        let mut gave_less = Vec::new();
        let on_event = &mut *self.on_event;
        wait_by(&until, self.host, &outcomes, policy, &until, &mut |place, event| {
            let Some((index, _)) = changed.get(place) else { return };
            let event = until.named(event);
            if let WaitEvent::Ended(report) = &event {
                match &report.end {
                    WaitEnd::Reached | WaitEnd::Interrupted | WaitEnd::NotNeeded => {}
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

    /// Waits for the last of the memory: each guest has reached its target within [`TOLERANCE`], and the host may lack
    /// what it still holds above it. Ends when no guest moves any more.
    fn wait_for_the_rest(&mut self, changed: &[(usize, Outcome)]) -> Result<(), Cause> {
        let gives = |index: usize| self.donors.get(index).is_some_and(|it| it.exclusion.is_none());
        let wanted: HashMap<Identity, Kib> = changed
            .iter()
            .filter(|(index, _)| gives(*index))
            .map(|(_, outcome)| (outcome.domain.identity, outcome.plan.wanted))
            .collect();
        let (mut least, mut idle) = (u64::MAX, Duration::ZERO);
        while idle < LAST_PATIENCE && available(self.host)? < self.plan.goal {
            let infos = self.host.hypervisor().domains()?;
            let above = infos
                .iter()
                .filter_map(|info| info.current.minus(*wanted.get(&info.identity)?))
                .fold(0_u64, |sum, above| sum.saturating_add(above.0));
            if above == 0 {
                break;
            }
            idle = if above < least { Duration::ZERO } else { idle.saturating_add(QUIET) };
            least = least.min(above);
            if self.interrupt.sleep(QUIET) {
                break;
            }
        }
        Ok(())
    }

    /// Excludes the donor from the rest of this run.
    fn exclude(&mut self, index: usize, exclusion: Exclusion) {
        if let Some(report) = self.donors.get_mut(index) {
            report.exclusion.get_or_insert(exclusion);
        }
    }

    /// Reads the host and all donors, and plans what is still needed. The donors before `from` have given their share.
    fn plan_again(&mut self, from: usize) -> Result<(), Cause> {
        let store = self.host.connect()?;
        let which: Vec<Identity> =
            self.donors.iter().map(|report| report.donor.domain.identity).collect();
        let rows =
            if which.is_empty() { Vec::new() } else { read_rows(self.host, &*store, &which)? };
        let mut donors = std::mem::take(&mut self.plan.donors);
        for (donor, report) in donors.iter_mut().zip(&mut self.donors) {
            let Some(row) = rows.iter().find(|row| row.domain.identity == donor.domain.identity)
            else {
                report.exclusion = Some(Exclusion::Gone);
                (donor.held, report.held) = (Kib(0), Kib(0));
                donor.exclusion.clone_from(&report.exclusion);
                continue;
            };
            donor.held = row.memory.info.current;
            donor.size = row.memory.size().unwrap_or(donor.held);
            donor.limit = row.memory.info.limit;
            donor.state = row.state;
            // The guest's own use can have grown since.
            let used = row.memory.used().map(|used| Floor::of_use(used, row.memory.video_memory()));
            if let Some(floor) = used.filter(|floor| floor.size > donor.floor.size) {
                donor.floor = floor;
            }
            donor.exclusion = report.exclusion.clone().or_else(|| exclusion(row));
            report.held = donor.held;
        }
        let available = available(self.host)?;
        let (goal, priority) = (self.plan.goal, self.request.priority);
        self.plan = ReclaimPlan::new(goal, available, donors, priority, from);
        Ok(())
    }

    /// Restores the old target and limit of each guest whose target is still the one that this run set, the last one
    /// first. The user asked for it in case the run fails, so only an interrupt from now on ends the wait for a lock.
    fn restore(&mut self) {
        self.interrupt.forget();
        for index in (0..self.taken.len()).rev() {
            let Some(taken) = self.taken.get(index).copied().flatten() else { continue };
            let Some(report) = self.donors.get_mut(index) else { continue };
            let domain = report.donor.domain.clone();
            let limit = LimitRule::Restored { from: taken.limit, to: taken.limit_before };
            let condition = Condition::TargetIs(taken.target);
            let request = self.request_for(domain, set_if(condition, taken.before, limit));
            let interrupt = HeldOff { interrupt: self.interrupt };
            let result = self.session.change(&request, &interrupt);
            if let Some(report) = self.donors.get_mut(index) {
                report.restored =
                    result.as_ref().is_ok_and(|it| it.status == ChangeStatus::Changed);
            }
            let result = result.map_err(|failure| taken.not_restored(failure));
            (self.on_event)(ReclaimEvent::Restored(index, result));
        }
    }

    const fn request_for(&self, domain: Domain, memory: MemoryRequest) -> ChangeRequest {
        ChangeRequest {
            domain: DomainRef::Same(domain),
            memory,
            keep_free: None,
            dry_run: false,
            lock_timeout: self.request.lock_timeout,
        }
    }
}

/// Sets `size` if `condition` holds.
const fn set_if(condition: Condition, size: Kib, limit: LimitRule) -> MemoryRequest {
    MemoryRequest::SetIf { condition, size: Size::exact(Amount::To(size)), limit, force: false }
}

/// Ends a wait also when the host has enough. Its clock counts sleeps, so that a stop (Ctrl-Z) uses up no patience.
struct UntilEnough<'a> {
    host: &'a dyn Host,
    goal: Kib,
    interrupt: &'a dyn Interrupt,
    slept: Cell<Duration>,
    has: Cell<bool>,
}

impl UntilEnough<'_> {
    /// `event`, with the right end: the wait cannot tell a host that has enough from a signal.
    fn named(&self, event: WaitEvent) -> WaitEvent {
        match event {
            WaitEvent::Ended(report)
                if self.has.get() && matches!(report.end, WaitEnd::Interrupted) =>
            {
                WaitEvent::Ended(WaitReport { end: WaitEnd::NotNeeded, ..report })
            }
            event => event,
        }
    }
}

impl Clock for UntilEnough<'_> {
    fn now(&self) -> Duration {
        self.slept.get()
    }

    fn sleep(&self, time: Duration) -> bool {
        Interrupt::sleep(self, time)
    }
}

impl Interrupt for UntilEnough<'_> {
    fn pending(&self) -> bool {
        self.has.get() || self.interrupt.pending()
    }

    fn sleep(&self, time: Duration) -> bool {
        let is_interrupted = self.interrupt.sleep(time);
        self.slept.set(self.slept.get().saturating_add(time));
        if let Ok(available) = available(self.host) {
            self.has.set(available >= self.goal);
            let (goal, available) = (Mib(self.goal), Mib(available));
            self.interrupt.waiting_for(&format_args!("{goal} MiB, {available} MiB available"));
        }
        is_interrupted || self.has.get()
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.interrupt.waiting_for(what);
    }
}
