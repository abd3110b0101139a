//! Waking a balloon driver up that has given its target up.
//!
//! Linux's driver tries a few times and then sleeps until it sees a target that differs from the one it
//! has (`BP_ECANCELED` in `drivers/xen/balloon.c`): to write the same one again does nothing. So a
//! target one page off is set, and then the one that was there, both by the ordinary change.

use std::thread;
use std::time::Duration;

use tracing::debug;

use super::{Commit, End, Failed, Held, Outcome, TRIES, pause};
use crate::error::{After, Cause, Failure};
use crate::host::Host;
use crate::plan::Wish;
use crate::signals::Signals;
use crate::size::{Amount, Kib, PAGE, Size};

/// How long the other target stays: a guest that takes longer to look at it never sees it.
const LOOK: Duration = Duration::from_millis(500);

/// Wakes up the driver of the domain that `outcome` is of, whose target stands. Returns the two
/// changes; none when somebody else has set the target meanwhile, when no other target is allowed, or
/// when a signal waits.
///
/// # Errors
/// [`Failure`]: as of a change. [`After::Aside`] when the second one failed.
pub fn nudge<H: Host>(
    host: &H,
    outcome: &Outcome,
    lock_timeout: Duration,
    signals: &mut Signals,
) -> Result<Vec<Outcome>, Failure> {
    let mut there_and_back = || {
        let store = host.connect()?;
        let signals = signals.hold_off().map_err(|source| Cause::Os { what: "signals", source })?;
        let mut held = Held::take(host, &store, &outcome.domain, lock_timeout, signals)?;
        held.settle()?;
        if signals.pending().map_err(|source| Cause::Os { what: "signals", source })? {
            return Ok(Vec::new());
        }
        held.there_and_back(outcome.plan.target, held.info.current > outcome.plan.wanted)
    };
    there_and_back().map_err(|failed: Failed| failed.of(Some(outcome.domain.clone())))
}

impl<H: Host> Held<'_, H> {
    /// A target one page off `target`, and back to it.
    fn there_and_back(&mut self, target: Kib, shrinks: bool) -> Result<Vec<Outcome>, Failed> {
        let (up, down) = (Amount::Up(PAGE), Amount::Down(PAGE));
        // Not past the old target, if there is a choice: what the guest does meanwhile is on its way.
        let ways = if shrinks { [(up, down), (down, up)] } else { [(down, up), (up, down)] };
        for (there, back) in ways {
            let there = match self.step(target, there, false) {
                Ok(Some(outcome)) => outcome,
                Ok(None) => return Ok(Vec::new()),
                // At the floor, or at the maximum.
                Err(Failed { cause: Cause::Refused(why), .. }) => {
                    debug!(domain = %self.domain, %why, "no nudge that way");
                    continue;
                }
                Err(failed) => return Err(failed),
            };
            // Nobody who respects the lock can get in between, and no signal ends the run here.
            thread::sleep(LOOK);
            let aside = there.plan.target;
            return match self.step(aside, back, true) {
                Ok(back) => Ok([Some(there), back].into_iter().flatten().collect()),
                Err(failed @ Failed { after: After::OutOfStep { .. }, .. }) => Err(failed),
                Err(Failed { cause, .. }) => {
                    Err(Failed { cause, after: After::Aside { target: aside } })
                }
            };
        }
        Ok(Vec::new())
    }

    /// One ordinary change by `amount`; `None` if the target is not `from` any more.
    fn step(&mut self, from: Kib, amount: Amount, force: bool) -> Result<Option<Outcome>, Failed> {
        let wish = Wish::Set { size: Size { amount, cut: 0 }, raise_max: false, force };
        for attempt in 1..=TRIES {
            let open = self.open()?;
            if open.reading.target != Some(from) {
                return Ok(None);
            }
            let plan = open.plan(&wish)?;
            let (info, limit) = (open.reading.info, plan.limit);
            debug!(domain = %self.domain, attempt, %from, to = %plan.target, "nudge");
            let committed = open.carry_out(plan)?.commit()?;
            match committed {
                Commit::Done(plan) => {
                    self.info.limit = limit;
                    let (domain, end) = (self.domain.clone(), End::Changed);
                    return Ok(Some(Outcome { domain, info, plan, end, earlier: None }));
                }
                Commit::Conflict { limit } => self.info.limit = limit,
            }
            pause(attempt);
        }
        Err(Cause::Conflicts { tries: TRIES }.into())
    }
}
