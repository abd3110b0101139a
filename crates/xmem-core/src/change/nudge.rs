//! Nudging a stalled balloon driver.
//!
//! Linux's driver tries a few times and then sleeps until it sees a target that differs from its present one
//! (`BP_ECANCELED`, `drivers/xen/balloon.c`): writing the same one again does nothing. So a target one page off is set
//! ([`nudge_away`]), and later the old one again ([`nudge_back`]), each by an ordinary change. The limit stays, unless the
//! page needs more meanwhile. The lock is not held in between, so that many guests can be nudged at once.

use std::time::Duration;

use tracing::debug;
use xen::size::PAGE;
use xen::{Host, Interrupt, Kib};

use super::{ChangeRequest, ChangeSession, ChangeStatus, HeldOff, Outcome};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Aftermath, Cause, Failure};
use crate::plan::{Condition, LimitRule, MemoryRequest};
use crate::size::{Amount, Size};

/// A target one page off, to be moved back.
#[derive(Clone, Debug)]
pub struct Away {
    /// The change that moved it.
    pub outcome: Outcome,
    back: Amount,
}

/// Moves the target of the domain of `outcome` one page off. Returns `None` if another program has set the
/// target meanwhile, if the rules allow no other target, or if the caller interrupts.
///
/// The guest needs some time to see the new target: half a second is enough for Linux's driver.
///
/// # Errors
/// [`Failure`], as of a change.
pub fn nudge_away(
    host: &dyn Host,
    outcome: &Outcome,
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> Result<Option<Away>, Failure> {
    let Some(target) = outcome.plan.new.target else { return Ok(None) };
    let (up, down) = (Amount::Up(PAGE), Amount::Down(PAGE));
    // Not past the old target, if possible: then the guest's progress meanwhile is in the right direction.
    let domid = outcome.domain.identity.domid;
    let info = host.hypervisor().domain(domid).ok().flatten().unwrap_or(outcome.info);
    let shrinks = info.current > outcome.plan.wanted;
    for (there, back) in if shrinks { [(up, down), (down, up)] } else { [(down, up), (up, down)] } {
        match step(
            host,
            &outcome.domain,
            request(target, there, LimitRule::Stays, false),
            lock_timeout,
            interrupt,
        ) {
            Ok(outcome) => return Ok(outcome.map(|outcome| Away { outcome, back })),
            // At the minimum or the maximum.
            Err(Failure { cause: Cause::Refused(why), .. }) => {
                debug!(domain = %outcome.domain, %why, "no nudge in that direction");
            }
            Err(Failure {
                cause: Cause::Interrupted,
                aftermath: Aftermath::Unchanged,
                recovery: None,
                ..
            }) => {
                return Ok(None);
            }
            Err(failure) => {
                return Err(Failure { absolute: Some(outcome.plan.size()), ..failure });
            }
        }
    }
    Ok(None)
}

/// Moves the target back. Returns `None` if another program has set it meanwhile. An interrupt ends only a wait for the
/// lock.
///
/// # Errors
/// [`Failure`], with [`Aftermath::OnePageOff`] unless the domain is gone, or target and limit may be out of step.
pub fn nudge_back(
    host: &dyn Host,
    away: &Away,
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> Result<Option<Outcome>, Failure> {
    let Outcome { domain, plan, .. } = &away.outcome;
    let Some(target) = plan.new.target else { return Ok(None) };
    let interrupt = HeldOff { interrupt };
    let limit = LimitRule::Restored { from: plan.new.limit, to: plan.old.limit };
    let memory = request(target, away.back, limit, true);
    step(host, domain, memory, lock_timeout, &interrupt).map_err(|failure| {
        let aftermath = match failure.aftermath {
            // A domain that is gone has no target.
            aftermath if failure.cause.is_gone() => aftermath,
            aftermath @ Aftermath::OutOfStep { .. } => aftermath,
            _ => Aftermath::OnePageOff { target, limit: plan.new.limit },
        };
        let absolute = plan.old.target.and_then(|target| target.offset(plan.video.into()));
        Failure { aftermath, absolute, ..failure }
    })
}

/// Moves the target by `amount`, if it is still `from`.
const fn request(from: Kib, amount: Amount, limit: LimitRule, force: bool) -> MemoryRequest {
    let condition = Condition::TargetIs(from);
    MemoryRequest::SetIf { condition, size: Size::exact(amount), limit, force }
}

/// One ordinary change. `None` if the condition does not hold.
fn step(
    host: &dyn Host,
    domain: &Domain,
    memory: MemoryRequest,
    lock_timeout: Duration,
    interrupt: &dyn Interrupt,
) -> Result<Option<Outcome>, Failure> {
    let request = ChangeRequest {
        domain: DomainRef::Same(domain.clone()),
        memory,
        keep_free: None,
        dry_run: false,
        lock_timeout,
    };
    let result = ChangeSession::new(host).change(&request, interrupt);
    let outcome = result.map_err(|failure| Failure { domain: Some(domain.clone()), ..failure })?;
    Ok(Some(outcome).filter(|outcome| outcome.status == ChangeStatus::Changed))
}
