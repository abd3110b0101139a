//! How long to wait for a guest: while it makes progress. Pure.

use std::time::Duration;

use xen::Kib;

use super::WaitPolicy;
use crate::state::{Follows, State};

/// The shortest and the longest time between two polls; each costs a hypercall.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// How long a wait without a time bound outlasts a pause: an admin may be about to unpause the domain.
pub(super) const PAUSE_LIMIT: Duration = Duration::from_secs(5);

/// One poll of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The time since the wait began.
    pub at: Duration,
    /// The guest's memory.
    pub current: Kib,
    /// The domain's state.
    pub state: State,
    /// Whether its guest follows a target.
    pub follows: Follows,
}

/// The verdict of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guest reached its target.
    Reached,
    /// It made no progress for the time of patience.
    Stuck,
    /// The time bound was reached.
    TimedOut,
    /// It does not run, and has not for as long as the wait outlasts that.
    Halted,
    /// It never runs again.
    Stopped,
    /// Poll again after this time.
    Wait(Duration),
}

/// The progress of one guest.
#[derive(Clone, Debug)]
pub struct ProgressTracker {
    policy: WaitPolicy,
    wanted: Kib,
    /// The guest's distance from its target at first, and at its nearest.
    first: u64,
    nearest: u64,
    last: Duration,
    /// The time that it has run without progress.
    idle: Duration,
    /// The time since which it does not run.
    halted: Option<Duration>,
}

impl ProgressTracker {
    /// The tracker of a guest that holds `from` and should hold `wanted`.
    pub const fn new(policy: WaitPolicy, wanted: Kib, from: Kib) -> Self {
        let first = wanted.0.abs_diff(from.0);
        let (last, idle, halted) = (Duration::ZERO, Duration::ZERO, None);
        Self { policy, wanted, first, nearest: first, last, idle, halted }
    }

    /// Whether the guest came nearer to its target at all.
    pub const fn has_moved(&self) -> bool {
        self.nearest < self.first
    }

    /// The verdict of `poll`. Polls come in the order of their times.
    ///
    /// Progress means being nearer than ever before: a guest that wavers makes none.
    pub fn judge(&mut self, poll: Poll) -> Verdict {
        let Poll { at, current, state, follows } = poll;
        let passed = at.saturating_sub(std::mem::replace(&mut self.last, at));
        let distance = self.wanted.0.abs_diff(current.0);
        let came_nearer = distance < self.nearest;
        self.nearest = self.nearest.min(distance);
        if distance <= self.policy.within.0 {
            return Verdict::Reached;
        }
        let left = match follows {
            Follows::Never => return Verdict::Stopped,
            Follows::Now => {
                self.halted = None;
                self.idle =
                    if came_nearer { Duration::ZERO } else { self.idle.saturating_add(passed) };
                let left = self.policy.patience.saturating_sub(self.idle);
                if left.is_zero() {
                    return Verdict::Stuck;
                }
                left
            }
            Follows::Later => {
                let halted = at.saturating_sub(*self.halted.get_or_insert(at));
                let left = self.outlasts(state).saturating_sub(halted);
                if left.is_zero() {
                    return Verdict::Halted;
                }
                left
            }
        };
        let bound = self.policy.at_most.map_or(LONGEST, |most| most.saturating_sub(at));
        if bound.is_zero() {
            return Verdict::TimedOut;
        }
        // Noticing the end late by an eighth of the time is soon enough.
        let rest = at.checked_div(8).unwrap_or_default().clamp(SHORTEST, LONGEST);
        Verdict::Wait(rest.min(bound).min(left))
    }

    /// How long the wait outlasts a domain in `state`, which does not run.
    fn outlasts(&self, state: State) -> Duration {
        match (state, self.policy.at_most) {
            // About to be rebooted.
            (State::ShutDown, _) => PAUSE_LIMIT,
            (_, Some(_)) => Duration::MAX,
            // A save or a migration comes to an end.
            (State::Suspended, None) => self.policy.patience.max(PAUSE_LIMIT),
            (_, None) => PAUSE_LIMIT,
        }
    }
}

#[cfg(test)]
mod tests;
