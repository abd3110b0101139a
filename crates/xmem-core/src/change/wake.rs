//! Waking a balloon driver that has given up on its target.
//!
//! Linux's driver tries a few times and then sleeps until it sees a target that differs from the one it has
//! (`BP_ECANCELED`, `drivers/xen/balloon.c`): writing the same one again does nothing. So a target one page off is set
//! ([`wake_away`]), and the old one again later ([`wake_back`]), both by the ordinary change. The lock is not held in
//! between, so that many guests can be woken at once.

use std::time::Duration;

use tracing::debug;
use xen::size::PAGE;
use xen::{Host, Interrupt, Kib};

use super::locked::{Failed, LockedDomain};
use super::pending::Commit;
use super::{ChangeStatus, Outcome, TRIES, pause};
use crate::failure::{Aftermath, Cause, Failure};
use crate::plan::MemoryRequest;
use crate::size::{Amount, Size};
use crate::state::State;

/// A target that was moved one page off, and is to be moved back.
#[derive(Clone, Debug)]
pub struct Away {
    /// The change that moved it.
    pub outcome: Outcome,
    /// The step back.
    back: Amount,
}

/// Moves the target of the domain of `outcome`, which stands, one page off. Returns `None` if another program has set the
/// target meanwhile, if the rules allow no other target, or if the caller interrupts.
///
/// The guest needs some time to see the new target: half a second is enough for Linux's driver.
///
/// # Errors
/// [`Failure`], as of a change.
pub fn wake_away(
    host: &dyn Host,
    outcome: &Outcome,
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> Result<Option<Away>, Failure> {
    let Some(target) = outcome.plan.new.target else { return Ok(None) };
    let away = || -> Result<Option<Away>, Failed> {
        let store = host.connect()?;
        let mut locked =
            LockedDomain::take(host, &*store, &outcome.domain, lock_timeout, interrupt)?;
        locked.recover()?;
        if interrupt.pending() {
            return Ok(None);
        }
        let (up, down) = (Amount::Up(PAGE), Amount::Down(PAGE));
        // Not past the old target, if there is a choice: then the guest's progress meanwhile is in the right direction.
        let shrinks = locked.info.current > outcome.plan.wanted;
        for (there, back) in
            if shrinks { [(up, down), (down, up)] } else { [(down, up), (up, down)] }
        {
            match step(&mut locked, target, there, false, interrupt) {
                Ok(outcome) => return Ok(outcome.map(|outcome| Away { outcome, back })),
                // At the minimum, or at the maximum.
                Err(Failed { cause: Cause::Refused(why), .. }) => {
                    debug!(domain = %locked.domain, %why, "no waking in that direction");
                }
                Err(failed) => return Err(failed),
            }
        }
        Ok(None)
    };
    away().map_err(|failed| failed.of(outcome, target))
}

/// Moves the target back. Returns `None` if another program has set it meanwhile.
///
/// # Errors
/// [`Failure`], with [`Aftermath::OnePageOff`] unless target and limit may be out of step.
pub fn wake_back(
    host: &dyn Host,
    away: &Away,
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> Result<Option<Outcome>, Failure> {
    let outcome = &away.outcome;
    let Some(target) = outcome.plan.new.target else { return Ok(None) };
    let back = || -> Result<Option<Outcome>, Failed> {
        let store = host.connect()?;
        let mut locked =
            LockedDomain::take(host, &*store, &outcome.domain, lock_timeout, interrupt)?;
        locked.recover()?;
        step(&mut locked, target, away.back, true, interrupt)
    };
    back().map_err(|failed| {
        let aftermath = match failed.aftermath {
            // A domain that is gone has no target.
            aftermath if matches!(failed.cause, Cause::Gone) => aftermath,
            aftermath @ Aftermath::OutOfStep { .. } => aftermath,
            _ => Aftermath::OnePageOff { target },
        };
        let absolute = outcome.plan.old.target.unwrap_or(target);
        Failed { aftermath, ..failed }.of(outcome, absolute)
    })
}

impl Failed {
    /// The failure of waking the domain of `outcome`, whose target is to be `target`.
    fn of(self, outcome: &Outcome, target: Kib) -> Failure {
        let Self { cause, aftermath } = self;
        let absolute = target.offset(outcome.plan.video.into());
        Failure { domain: Some(outcome.domain.clone()), cause, aftermath, absolute }
    }
}

/// One ordinary change by `amount`. `None` if the target is not `from` any more.
fn step(
    locked: &mut LockedDomain<'_>,
    from: Kib,
    amount: Amount,
    force: bool,
    interrupt: &dyn Interrupt,
) -> Result<Option<Outcome>, Failed> {
    let request = MemoryRequest::Set { size: Size::exact(amount), raise_max: false, force };
    let before = locked.info.limit;
    let mut left = Aftermath::Unchanged;
    for attempt in 1..=TRIES {
        match step_once(locked, from, &request).map_err(|failed| failed.after(&left, before))? {
            Step::Ended(outcome) => return Ok(outcome.map(|outcome| *outcome)),
            Step::Conflict(aftermath) => left = aftermath,
        }
        locked.refresh().map_err(|cause| Failed::from(cause).after(&left, before))?;
        pause(attempt, interrupt);
    }
    Err(Failed::from(Cause::Conflicts { tries: TRIES }).after(&left, before))
}

/// How one try of a step ended.
enum Step {
    /// `None`: the target is another program's.
    Ended(Option<Box<Outcome>>),
    Conflict(Aftermath),
}

fn step_once(
    locked: &LockedDomain<'_>,
    from: Kib,
    request: &MemoryRequest,
) -> Result<Step, Failed> {
    let open = locked.open()?;
    if open.memory.target != Ok(Some(from)) {
        return Ok(Step::Ended(None));
    }
    let (state, info) = (State::of(&open.memory), open.memory.info);
    let planned = open.plan(request, None)?;
    debug!(domain = %locked.domain, %from, to = %planned.plan.new, "waking the balloon driver");
    Ok(match planned.prepare()?.commit()? {
        Commit::Done(plan) => {
            let (domain, status) = (locked.domain.clone(), ChangeStatus::Changed);
            Step::Ended(Some(Box::new(Outcome {
                domain,
                state,
                info,
                plan,
                status,
                recovery: None,
            })))
        }
        Commit::Conflict(aftermath) => Step::Conflict(aftermath),
    })
}
