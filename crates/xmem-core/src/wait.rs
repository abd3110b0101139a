//! Waiting for guests to reach their targets, and saying why one has not.

use std::time::Duration;

use xen::hypervisor::DomainInfo;
use xen::{DomId, Host, Interrupt, Kib};

use crate::change::Outcome;
use crate::failure::{Cause, Failure};
use crate::state::State;

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Give up on a guest after this long without progress.
    pub patience: Duration,
    /// Give up on all guests after this long, whatever they do.
    pub at_most: Option<Duration>,
    /// How far from what it should hold a guest counts as having reached it.
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
    /// It is on its way, or stopped for a while.
    Progress(Progress),
    /// Its wait is over.
    Ended(WaitReport),
}

/// One look at a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When, since the wait began.
    pub at: Duration,
    /// What the domain is doing.
    pub state: State,
    /// What it held before the change.
    pub from: Kib,
    /// What it holds.
    pub current: Kib,
    /// What it should hold.
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
    Unreachable(Cause),
}

/// Why a guest has not reached its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// It is paused, being built or suspended.
    State(State),
    /// Its limit is below what it should hold.
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
    /// It gave back some, and seems to need the rest.
    GuestNeedsMemory,
    /// It grew some, and seems to have no room for more.
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
    /// The last look.
    pub info: DomainInfo,
    /// The target that was waited for.
    pub target: Kib,
    /// What the guest should hold: target and video memory.
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

/// Waits for the guest of each of `outcomes`, all at once. Each has its own patience; `on_event` gets the index into
/// `outcomes`, and one [`WaitEvent::Ended`] for each.
pub fn wait(
    host: &dyn Host,
    outcomes: &[&Outcome],
    policy: WaitPolicy,
    interrupt: &dyn Interrupt,
    on_event: &mut dyn FnMut(usize, WaitEvent),
) {
    let _ = (host, outcomes, policy, interrupt, on_event);
    todo!()
}
