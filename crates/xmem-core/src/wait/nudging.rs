//! Nudging the balloon drivers of all stalled guests at once.

use std::time::Duration;

use xen::{Host, Interrupt};

use super::guest::Guest;
use super::{Clock, WaitEnd, WaitEvent};
use crate::change::{Away, nudge_away, nudge_back};
use crate::failure::{Aftermath, Failure};

/// How long the other target stays. Linux's driver sees it at once, unless its guest is very busy.
const AWAY: Duration = Duration::from_millis(500);

/// How long to wait for a domain's lock at most: the other guests wait meanwhile.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Nudges the drivers of the stalled guests in `waiting`, unless the time bound is too short. Guests for which that
/// fails are dropped, and their waits end.
pub(super) fn nudge(
    clock: &dyn Clock,
    host: &dyn Host,
    waiting: &mut Vec<Guest<'_>>,
    interrupt: &dyn Interrupt,
    on_event: &mut dyn FnMut(usize, WaitEvent),
) {
    let mut away: Vec<(usize, Away)> = Vec::new();
    let mut failed: Vec<(usize, Failure)> = Vec::new();
    for guest in waiting.iter_mut() {
        if !guest.is_asleep(clock.now()) {
            continue;
        }
        guest.needs_no_nudge = true;
        // The time for the lock: the bound, less the time of the other target and of the way back.
        let left = guest.policy.at_most.map_or(Some(LOCK_TIMEOUT), |most| {
            most.checked_sub(clock.now())?.checked_sub(AWAY.saturating_mul(2))
        });
        let Some(left) = left else { continue };
        let timeout = left.min(LOCK_TIMEOUT).min(guest.policy.lock_timeout);
        match nudge_away(host, guest.outcome, timeout, interrupt) {
            Ok(Some(step)) => away.push((guest.index, step)),
            Ok(None) => {}
            Err(failure) => failed.push((guest.index, failure)),
        }
    }
    if !away.is_empty() {
        // An interrupt makes the way back come sooner.
        let _ = clock.sleep(AWAY);
    }
    for (index, step) in away {
        let Some(guest) = waiting.iter_mut().find(|guest| guest.index == index) else { continue };
        let left = guest.policy.at_most.map(|most| most.saturating_sub(clock.now()));
        let timeout = left.unwrap_or(Duration::MAX).min(guest.policy.lock_timeout);
        match nudge_back(host, &step, timeout, interrupt) {
            Ok(back) => {
                guest.nudged = true;
                let outcomes = std::iter::once(step.outcome).chain(back).collect();
                on_event(index, WaitEvent::Nudged(outcomes));
            }
            Err(failure) => failed.push((index, failure)),
        }
    }
    for (index, failure) in failed {
        if matches!(failure.aftermath, Aftermath::Unchanged | Aftermath::RolledBack { .. }) {
            on_event(index, WaitEvent::NotNudged(failure));
            continue;
        }
        if let Some(place) = waiting.iter().position(|guest| guest.index == index) {
            let guest = waiting.remove(place);
            let report = guest.report(host, WaitEnd::Failed(Box::new(failure)), clock.now());
            on_event(index, WaitEvent::Ended(report));
        }
    }
}
