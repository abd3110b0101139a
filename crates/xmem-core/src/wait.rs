//! Waiting for guests to reach their targets, and why one has not.
//!
//! A wait polls the hypervisor alone: a watch tells if somebody changes a target. How long to go on is decided by
//! [`ProgressTracker`], which is pure.

mod guest;
mod report;
mod targets;
mod tracker;
mod waking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xen::hypervisor::DomainInfo;
use xen::{DomId, Host, Interrupt, Kib};

use self::guest::{Guest, Step};
use self::targets::Targets;
pub use self::tracker::{Poll, ProgressTracker, Verdict};
use crate::change::Outcome;
use crate::failure::{Cause, Failure};
use crate::state::State;

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Give up on a guest after this long without progress.
    pub patience: Duration,
    /// Give up on all guests after this long, whatever they do. It counts from the beginning, before any waking.
    pub at_most: Option<Duration>,
    /// How far from what it should have a guest counts as having reached it.
    pub within: Kib,
    /// How long to wait for a domain's lock when its driver has to be woken.
    pub lock_timeout: Duration,
}

/// What happens during a wait.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitEvent {
    /// The guest's driver had given up and was woken: two changes, there and back.
    Woken(Vec<Outcome>),
    /// Its driver could not be woken; target and limit are as they were.
    NotWoken(Failure),
    /// It makes progress, or is expected to; or its domain does not run for now.
    Progress(Progress),
    /// Its wait is over.
    Ended(WaitReport),
}

/// One poll of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When, since the wait began.
    pub at: Duration,
    /// What the domain is doing.
    pub state: State,
    /// What it had before the change.
    pub from: Kib,
    /// What it has.
    pub current: Kib,
    /// What it should have.
    pub wanted: Kib,
}

/// How a wait ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitEnd {
    /// The guest reached its target.
    Reached,
    /// It made no progress for as long as patience lasts.
    Stuck,
    /// The time was up.
    TimedOut,
    /// Another program changed the target.
    TargetChanged {
        /// To what; `None` if it was removed.
        now: Option<Kib>,
    },
    /// The domain went away.
    Gone {
        /// A domain of the same name or UUID that is there now: it rebooted or migrated back.
        successor: Option<DomId>,
    },
    /// The domain has shut down or crashed: it never follows.
    Stopped(State),
    /// The caller interrupted the wait.
    Interrupted,
    /// Waking its driver failed and left something behind.
    Failed(Failure),
    /// xenstore or the hypervisor do not answer any more.
    Unreachable(Arc<Cause>),
}

/// Why a guest has not reached its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// It is paused, being built or suspended.
    State(State),
    /// Its limit is below what it should have.
    Limit(Kib),
    /// The host has less free than it needs.
    HostShort {
        /// What it needs.
        needs: Kib,
        /// What the host has.
        available: Kib,
    },
    /// It never moved: no balloon driver appears to be running.
    NoDriver,
    /// It gave back some, and seems unable to free more.
    GuestNeedsMemory,
    /// It grew some, and seems unable to grow further.
    NoHotplug,
    /// dom0's own target was set by hand in its sysfs.
    Dom0Sysfs(Kib),
    /// dom0 is mapped 1:1 and keeps its pages (Arm).
    DirectMapped,
}

/// How the wait for one guest ended.
#[derive(Debug)]
pub struct WaitReport {
    /// How.
    pub end: WaitEnd,
    /// The last poll.
    pub info: DomainInfo,
    /// The target that was waited for.
    pub target: Kib,
    /// What the guest should have: target and video memory.
    pub wanted: Kib,
    /// Whether it came nearer at all.
    pub moved: bool,
    /// Whether its driver was woken.
    pub woken: bool,
    /// How long the wait took.
    pub took: Duration,
    /// The policy.
    pub policy: WaitPolicy,
    /// Why it has not reached its target, the surest first.
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

/// As [`wait`], by another clock: for tests.
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
                    Err(cause) => Step::Over(WaitEnd::Unreachable(Arc::clone(cause))),
                };
                let step = match step {
                    Step::On { .. } if guest.is_gone() => {
                        guest.look_for_successor(host, &mut targets, step)
                    }
                    step => step,
                };
                match step {
                    Step::On { progress, rest: at_most } => {
                        rest = rest.min(at_most).min(guest.wakes_in(at));
                        if let Some(progress) = progress {
                            on_event(guest.index, WaitEvent::Progress(progress));
                        }
                        Some(guest)
                    }
                    Step::Over(end) => {
                        on_event(guest.index, WaitEvent::Ended(guest.report(host, end, at)));
                        None
                    }
                }
            })
            .collect();
        waking::wake(clock, host, &mut waiting, interrupt, on_event);
        if !waiting.is_empty() && clock.sleep(rest) {
            for guest in waiting.drain(..) {
                let report = guest.report(host, WaitEnd::Interrupted, clock.now());
                on_event(guest.index, WaitEvent::Ended(report));
            }
        }
    }
}

/// Asks the hypervisor about all domains that are waited for, and looks whether any target has changed. A guest that has
/// reached its target at the first poll costs xenstored nothing.
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
