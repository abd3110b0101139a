//! One guest that is waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;
use xen::hypervisor::{DomainInfo, HypervisorError, Shutdown};
use xen::{DomId, Host, Kib};

use super::targets::{TargetSeen, Targets};
use super::tracker::{Poll, ProgressTracker, Verdict};
use super::{Progress, WaitEnd, WaitPolicy, WaitReport, report};
use crate::change::{ChangeStatus, Outcome};
use crate::failure::Cause;
use crate::memory::Memory;
use crate::resolve;
use crate::state::{Follows, State};

/// How long to look for the successor of a domain that went away: if it was about to be rebooted, and otherwise.
const REBOOT_GAP: Duration = Duration::from_secs(10);
const GAP: Duration = Duration::from_secs(3);

/// How long a driver without a new target may take to move by itself before it is nudged.
const NUDGE_AFTER: Duration = Duration::from_secs(1);

/// The pause between two searches for a successor.
const SEARCH_INTERVAL: Duration = Duration::from_millis(500);

/// The result of a poll.
pub(super) enum PollResult {
    /// Continue, and poll again after `rest` at the latest.
    On { progress: Option<Progress>, rest: Duration },
    /// The wait is over.
    Over(WaitEnd),
}

pub(super) struct Guest<'a> {
    /// Its index among the outcomes.
    pub index: usize,
    pub outcome: &'a Outcome,
    pub policy: WaitPolicy,
    /// The latest value of its `memory/target`.
    pub target_seen: TargetSeen,
    /// Whether its driver was nudged, or needs no nudge.
    pub needs_no_nudge: bool,
    pub nudged: bool,
    tracker: ProgressTracker,
    info: DomainInfo,
    state: State,
    /// The time at which it went away.
    gone: Option<Duration>,
}

impl<'a> Guest<'a> {
    pub(super) fn new(index: usize, outcome: &'a Outcome, policy: WaitPolicy) -> Self {
        Self {
            index,
            outcome,
            policy,
            target_seen: TargetSeen::Ours,
            // A driver with a new target needs no nudge.
            needs_no_nudge: outcome.status != ChangeStatus::Unchanged,
            nudged: false,
            tracker: ProgressTracker::new(policy, outcome.plan.wanted, outcome.info.current),
            info: outcome.info,
            state: outcome.state,
            gone: None,
        }
    }

    pub(super) const fn domid(&self) -> DomId {
        self.outcome.domain.identity.domid
    }

    /// The target that is waited for.
    pub(super) fn target(&self) -> Kib {
        self.outcome.plan.new.target.unwrap_or(self.outcome.plan.wanted)
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether the domain has reached its target.
    pub(super) fn has_reached(&self, infos: &BTreeMap<DomId, DomainInfo>) -> bool {
        infos.get(&self.domid()).is_some_and(|info| {
            info.identity == self.outcome.domain.identity
                && info.current.0.abs_diff(self.outcome.plan.wanted.0) <= self.policy.within.0
        })
    }

    /// The result of the poll at `at`; `infos` are all domains that are waited for, or the whole host's.
    pub(super) fn step(&mut self, at: Duration, infos: &BTreeMap<DomId, DomainInfo>) -> PollResult {
        let identity = self.outcome.domain.identity;
        let info =
            infos.get(&identity.domid).filter(|info| info.identity == identity && !info.dying);
        // `xl destroy` empties xenstore first.
        let Some(info) = info.filter(|_| !matches!(self.target_seen, TargetSeen::NoNodes)) else {
            return self.step_gone(at);
        };
        self.info = *info;
        let memory = Memory {
            name: self.outcome.domain.name.clone(),
            target: Ok(self.outcome.plan.new.target),
            static_max: Ok(self.outcome.plan.new.static_max),
            ..Memory::of(*info)
        };
        self.state = State::of(&memory);
        match std::mem::replace(&mut self.target_seen, TargetSeen::Ours) {
            TargetSeen::Ours | TargetSeen::NoNodes => {}
            TargetSeen::Changed(now) => return PollResult::Over(WaitEnd::TargetChanged { now }),
            TargetSeen::Bad(node) => {
                return PollResult::Over(WaitEnd::Unreachable(Arc::new(Cause::BadNode(node))));
            }
        }
        let follows = match info.shutdown {
            // The toolstack is about to start it again.
            Some(Shutdown::Reboot) => Follows::Later,
            _ => self.state.follows(),
        };
        let current = info.current;
        match self.tracker.judge(Poll { at, current, state: self.state, follows }) {
            Verdict::Reached => PollResult::Over(WaitEnd::Reached),
            Verdict::Stuck => PollResult::Over(WaitEnd::Stuck),
            Verdict::TimedOut => PollResult::Over(WaitEnd::TimedOut),
            Verdict::Halted if self.state.follows() != Follows::Never => {
                PollResult::Over(WaitEnd::Stuck)
            }
            Verdict::Halted | Verdict::Stopped => PollResult::Over(WaitEnd::Stopped(self.state)),
            Verdict::Wait(rest) => {
                let (from, wanted) = (self.outcome.info.current, self.outcome.plan.wanted);
                let progress = Some(Progress { at, state: self.state, from, current, wanted });
                PollResult::On { progress, rest }
            }
        }
    }

    /// Handles a domain that does not exist: it may come back as another one.
    fn step_gone(&mut self, at: Duration) -> PollResult {
        let since = *self.gone.get_or_insert(at);
        let gap = if self.info.shutdown == Some(Shutdown::Reboot) { REBOOT_GAP } else { GAP };
        let left = gap.saturating_sub(at.saturating_sub(since));
        let bound = self.policy.at_most.map_or(left, |most| left.min(most.saturating_sub(at)));
        if bound.is_zero() {
            return PollResult::Over(WaitEnd::Gone { successor: None });
        }
        PollResult::On { progress: None, rest: bound.min(SEARCH_INTERVAL) }
    }

    /// `step`, unless the domain is back.
    pub(super) fn look_for_successor(
        &self,
        host: &dyn Host,
        targets: &mut Targets,
        step: PollResult,
    ) -> PollResult {
        let domain = &self.outcome.domain;
        let found =
            targets.store(host).and_then(|store| Ok(resolve::successor(host, store, domain)?));
        match found {
            Ok(None) => step,
            Ok(successor) => PollResult::Over(WaitEnd::Gone { successor }),
            Err(_) => PollResult::Over(WaitEnd::Gone { successor: None }),
        }
    }

    /// Whether its driver should be nudged: it has no new target, and has not moved by itself.
    pub(super) fn is_asleep(&self, at: Duration) -> bool {
        !self.needs_no_nudge
            && at >= NUDGE_AFTER
            && self.state == State::Running
            && !self.is_gone()
            && !self.tracker.has_moved()
    }

    /// The latest time for the next poll, so that its driver is nudged in time.
    pub(super) fn nudge_in(&self, at: Duration) -> Duration {
        let left = NUDGE_AFTER.saturating_sub(at);
        if self.needs_no_nudge || left.is_zero() { Duration::MAX } else { left }
    }

    /// The report of its wait, which took until `took`.
    pub(super) fn report(&self, host: &dyn Host, end: WaitEnd, took: Duration) -> WaitReport {
        let Self { policy, info, nudged, .. } = *self;
        let (target, wanted, moved) =
            (self.target(), self.outcome.plan.wanted, self.tracker.has_moved());
        debug!(domain = %self.outcome.domain, end = end.word(), current = %info.current, %wanted, "the wait is over");
        let mut report = WaitReport {
            end,
            info,
            target,
            wanted,
            moved,
            nudged,
            took,
            policy,
            reasons: Vec::new(),
        };
        if report.end.is_late() {
            let needs_more = info.current < wanted;
            let memory = needs_more.then(|| host.hypervisor().host_memory().ok()).flatten();
            let dom0 =
                if info.identity.domid == DomId::DOM0 { host.dom0() } else { xen::Dom0::default() };
            report.reasons = report::reasons(&report, self.state, dom0, memory);
        }
        report
    }
}

/// The domains of `guests` in the hypervisor: by one call, for the whole host, if there are several.
///
/// # Errors
/// The hypervisor does not answer.
pub(super) fn poll(
    host: &dyn Host,
    guests: &[Guest<'_>],
) -> Result<BTreeMap<DomId, DomainInfo>, HypervisorError> {
    let hypervisor = host.hypervisor();
    let listed = if guests.len() > 1 { hypervisor.domains().ok() } else { None };
    let infos = if let Some(infos) = listed {
        infos
    } else {
        // A single domain, or the hypervisor refuses to list them.
        let each = guests.iter().filter_map(|guest| hypervisor.domain(guest.domid()).transpose());
        each.collect::<Result<_, _>>()?
    };
    Ok(infos.into_iter().map(|info| (info.identity.domid, info)).collect())
}
