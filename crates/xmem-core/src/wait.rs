//! Waiting for guests to reach their targets, and the reasons why one has not.
//!
//! A wait polls only the hypervisor; a watch on each target fires if another program changes it. [`ProgressTracker`],
//! which is pure, decides how long to continue.

mod guest;
mod nudging;
mod report;
mod targets;
mod tracker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xen::hypervisor::DomainInfo;
use xen::{DomId, Host, Interrupt, Kib};

use self::guest::{Guest, PollResult};
use self::targets::Targets;
pub use self::tracker::{Poll, ProgressTracker, Verdict};
use crate::change::Outcome;
use crate::failure::{Cause, Failure};
use crate::state::State;

/// How long to wait, and for which distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Give up on a guest after this long without progress.
    pub patience: Duration,
    /// Give up on all guests after this long, whatever they do. Counted from the beginning, before any nudge.
    pub at_most: Option<Duration>,
    /// The distance from its target within which a guest has reached it.
    pub within: Kib,
    /// How long to wait for a domain's lock to nudge its driver.
    pub lock_timeout: Duration,
}

/// What happens during a wait.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitEvent {
    /// The guest's driver had stalled and was nudged: two changes, there and back.
    Nudged(Vec<Outcome>),
    /// Its driver could not be nudged; the target is unchanged.
    NotNudged(Failure),
    /// It makes progress, or is expected to; or its domain does not run for now.
    Progress(Progress),
    /// Its wait is over.
    Ended(WaitReport),
}

/// One poll of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The time since the wait began.
    pub at: Duration,
    /// The domain's state.
    pub state: State,
    /// The guest's memory before the change.
    pub from: Kib,
    /// The guest's memory.
    pub current: Kib,
    /// The guest's memory at its target.
    pub wanted: Kib,
}

/// The end of a wait.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitEnd {
    /// The guest reached its target.
    Reached,
    /// It made no progress for the time of patience, or its domain stayed paused or suspended.
    Stuck,
    /// The time bound was reached.
    TimedOut,
    /// Another program changed the target.
    TargetChanged {
        /// The new target; `None` if it was removed.
        now: Option<Kib>,
    },
    /// The domain went away.
    Gone {
        /// A domain of the same name or UUID that exists now: it rebooted or migrated back.
        successor: Option<DomId>,
    },
    /// The domain has shut down or crashed: it never follows.
    Stopped(State),
    /// The caller interrupted the wait.
    Interrupted,
    /// [`reclaim`](crate::reclaim::reclaim) reached its goal before the guest reached its target.
    NotNeeded,
    /// Nudging its driver failed and left something behind.
    Failed(Box<Failure>),
    /// xenstore or the hypervisor does not answer any more.
    Unreachable(Arc<Cause>),
}

/// The reason why a guest has not reached its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// It is paused, being built or suspended.
    State(State),
    /// Its limit is below its target and video memory.
    Limit(Kib),
    /// The host has less free memory than it needs.
    HostShort {
        /// The memory that it needs.
        needs: Kib,
        /// The memory that the host has.
        available: Kib,
    },
    /// It never moved: no balloon driver appears to be running.
    NoDriver,
    /// It gave back some, and seems unable to free more.
    GuestNeedsMemory,
    /// It grew some, and seems unable to grow further.
    NoHotplug,
    /// dom0's own target was set in its sysfs.
    Dom0Sysfs(Kib),
    /// dom0 is mapped 1:1 and keeps its pages (Arm).
    DirectMapped,
}

/// The result of the wait for one guest.
#[derive(Debug)]
pub struct WaitReport {
    /// The end.
    pub end: WaitEnd,
    /// The last poll.
    pub info: DomainInfo,
    /// The target that was waited for.
    pub target: Kib,
    /// Its memory at the target: target and video memory.
    pub wanted: Kib,
    /// Whether it came nearer to the target.
    pub moved: bool,
    /// Whether its driver was nudged.
    pub nudged: bool,
    /// The duration of the wait.
    pub took: Duration,
    /// The policy.
    pub policy: WaitPolicy,
    /// The reasons why it has not reached its target, the most certain first.
    pub reasons: Vec<WaitReason>,
}

/// The clock of a wait.
pub trait Clock {
    /// The time since the wait began.
    fn now(&self) -> Duration;

    /// Sleeps for `time`, or until the caller interrupts; returns whether it did.
    fn sleep(&self, time: Duration) -> bool;
}

/// The system's clock.
struct SystemClock<'a> {
    start: Instant,
    interrupt: &'a dyn Interrupt,
}

impl Clock for SystemClock<'_> {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) -> bool {
        self.interrupt.sleep(time)
    }
}

/// Waits for the guest of each of `outcomes`, all at once. Each has its own patience; `on_event` gets the index into
/// `outcomes`, and one [`WaitEvent::Ended`] for each.
pub fn wait(
    host: &dyn Host,
    outcomes: &[&Outcome],
    policy: WaitPolicy,
    interrupt: &dyn Interrupt,
    on_event: &mut dyn FnMut(usize, WaitEvent),
) {
    let clock = SystemClock { start: Instant::now(), interrupt };
    wait_by(&clock, host, outcomes, policy, interrupt, on_event);
}

/// As [`wait`], with another clock: for tests.
pub fn wait_by(
    clock: &dyn Clock,
    host: &dyn Host,
    outcomes: &[&Outcome],
    policy: WaitPolicy,
    interrupt: &dyn Interrupt,
    on_event: &mut dyn FnMut(usize, WaitEvent),
) {
    let mut targets = Targets::default();
    let mut waiting: Vec<Guest<'_>> = outcomes
        .iter()
        .enumerate()
        .map(|(index, outcome)| Guest::new(index, outcome, policy))
        .collect();
    let mut is_first = true;
    while !waiting.is_empty() {
        let polled = observe(host, &mut targets, &mut waiting, is_first);
        is_first = false;
        let at = clock.now();
        let mut rest = Duration::MAX;
        waiting = waiting
            .into_iter()
            .filter_map(|mut guest| {
                let step = match &polled {
                    Ok(infos) => guest.step(at, infos),
                    Err(cause) => PollResult::Over(WaitEnd::Unreachable(Arc::clone(cause))),
                };
                let step = match step {
                    PollResult::On { .. } if guest.is_gone() => {
                        guest.look_for_successor(host, &mut targets, step)
                    }
                    step => step,
                };
                match step {
                    PollResult::On { progress, rest: at_most } => {
                        rest = rest.min(at_most).min(guest.nudge_in(at));
                        if let Some(progress) = progress {
                            on_event(guest.index, WaitEvent::Progress(progress));
                        }
                        Some(guest)
                    }
                    PollResult::Over(end) => {
                        on_event(guest.index, WaitEvent::Ended(guest.report(host, end, at)));
                        None
                    }
                }
            })
            .collect();
        nudging::nudge(clock, host, &mut waiting, interrupt, on_event);
        if !waiting.is_empty() && clock.sleep(rest) {
            for guest in waiting.drain(..) {
                let report = guest.report(host, WaitEnd::Interrupted, clock.now());
                on_event(guest.index, WaitEvent::Ended(report));
            }
        }
    }
}

/// Reads all domains that are waited for from the hypervisor, and checks whether any target has changed. A guest that
/// has reached its target at the first poll costs xenstored nothing.
fn observe(
    host: &dyn Host,
    targets: &mut Targets,
    waiting: &mut [Guest<'_>],
    is_first: bool,
) -> Result<BTreeMap<DomId, DomainInfo>, Arc<Cause>> {
    let infos = guest::poll(host, waiting).map_err(|error| Arc::new(error.into()))?;
    if !is_first || !waiting.iter().all(|guest| guest.has_reached(&infos)) {
        targets.update(host, waiting).map_err(Arc::new)?;
    }
    Ok(infos)
}
