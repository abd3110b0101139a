//! The numbers of each request: libxl's arithmetic.

use xen::Kib;
use xen::hypervisor::{GuestType, UNLIMITED};

use super::present::Present;
use super::{Condition, LimitRule, Note, Plan, Refusal};
use crate::memory::{Memory, SLACK, exceeds, size_of};
use crate::recovery::limit_to_restore;
use crate::size::{Amount, Size};

/// A new target, and the limit with it.
pub(super) fn set(memory: &Memory, size: Size, raise_max: bool) -> Result<Plan, Refusal> {
    let present = Present::of(memory)?;
    if changes_nothing(size) {
        return Ok(unchanged_target(&present));
    }
    let video = present.video;
    let target = match size.amount {
        // A relative size does not touch video memory.
        Amount::Up(_) | Amount::Down(_) => step(present.target, size.amount)?,
        Amount::To(size) => target_of(size, video)?,
        // A size is whole pages, which the target of a domain with a video memory of -1 is not.
        Amount::Target(target) => {
            target_of(Kib::from_pages(size_of(target, video).pages()), video)?
        }
        Amount::Maximum => target_of(present.maximum()?, video)?,
        Amount::Percent(percent) => target_of(present.share(percent)?, video)?,
    };
    let new_size = target.offset(video.into()).ok_or(Refusal::BeyondXen)?;
    let static_max = if raise_max {
        // As `max` would set it: libxl takes static-max as a size, video memory included, when the guest is started
        // again.
        present.static_max.max(new_size)
    } else if exceeds(target, video, present.static_max) {
        let (static_max, most) = (present.static_max, present.most());
        return Err(Refusal::AboveMax { target, static_max, most });
    } else {
        present.static_max
    };
    let limit = new_size.plus(SLACK).ok_or(Refusal::BeyondXen)?;
    let mut plan = present.plan(target, static_max, limit)?;
    // As libxl since 4.21: never for PV, never for dom0. Arm's hypervisor answers ENOSYS.
    if memory.info.guest_type != GuestType::Pv && !memory.is_dom0() && cfg!(target_arch = "x86_64")
    {
        // With a video memory of -1 it can be a page above the limit, which Xen refuses.
        let pod = target.plus(SLACK).map(|pod| Kib::from_pages(pod.pages()));
        plan.pod = pod.map(|pod| pod.min(plan.new.limit));
    }
    plan.sets_target = true;
    finish(&mut plan, &present, size.amount);
    Ok(plan)
}

/// A new target with a limit by `rule`, if `condition` holds.
pub(super) fn set_if(
    memory: &Memory,
    condition: Condition,
    size: Size,
    rule: LimitRule,
) -> Result<Plan, Refusal> {
    let present = Present::of(memory)?;
    if matches!(condition, Condition::TargetIs(target) if present.old.target != Some(target)) {
        return Ok(unchanged_target(&present));
    }
    let mut plan = set(memory, size, false)?;
    if condition == Condition::Lowers && plan.wanted >= present.size() {
        return Ok(unchanged_target(&present));
    }
    let memory = Memory { target: Ok(plan.new.target), ..memory.clone() };
    let kept = |ours: &[Kib], to| {
        // A target that the guest may have written is refused later, by `relies_on_store`.
        limit_to_restore(&memory, ours, to, || Ok::<_, Refusal>(false))
    };
    match rule {
        LimitRule::Follows => {}
        LimitRule::Stays => plan.new.limit = kept(&[], memory.info.limit)?,
        LimitRule::Restored { from, to } => plan.new.limit = kept(&[from], to)?,
    }
    Ok(plan)
}

/// A `set` that leaves everything as it is.
fn unchanged_target(present: &Present) -> Plan {
    Plan { sets_target: true, ..present.unchanged() }
}

/// A new maximum, and the limit with it.
pub(super) fn max(memory: &Memory, size: Size) -> Result<Plan, Refusal> {
    let present = Present::of(memory)?;
    if changes_nothing(size) {
        return Ok(present.unchanged());
    }
    let max = match size.amount {
        Amount::To(size) | Amount::Target(size) => size,
        Amount::Up(_) | Amount::Down(_) => step(present.maximum()?, size.amount)?,
        Amount::Maximum => present.maximum()?,
        Amount::Percent(percent) => present.share(percent)?,
    };
    let target = present.target;
    if exceeds(target, present.video, max) {
        return Err(Refusal::BelowTarget { max, target });
    }
    let asked = max.plus(SLACK).ok_or(Refusal::BeyondXen)?;
    let needed = present.size().plus(SLACK).ok_or(Refusal::BeyondXen)?;
    let mut plan = present.plan(target, max, needed.max(asked))?;
    finish(&mut plan, &present, size.amount);
    // libxl ignores video memory here, and can leave a guest that cannot allocate any more.
    if needed > asked {
        plan.notes.push(Note::LimitAboveMax { limit: plan.new.limit, max });
    }
    Ok(plan)
}

/// dom0's missing nodes, and a limit that holds the target. Never a lower limit, and none for a target above the
/// maximum, since either of the two can be wrong.
pub(super) fn repair(memory: &Memory) -> Result<Plan, Refusal> {
    // Unknown video memory can only add to what the target needs.
    let memory = &Memory { video: Ok(memory.video.clone().unwrap_or_default()), ..memory.clone() };
    let present = Present::of(memory)?;
    let (target, static_max) = (present.target, present.static_max);
    let (filled_in, in_order) = (present.filled_in(), !present.exceeds_maximum());
    if filled_in.is_some() && !in_order {
        return Err(Refusal::AboveMax { target, static_max, most: present.most() });
    }
    let filled = Memory { target: Ok(Some(target)), ..memory.clone() };
    let missing_limit = filled.missing_limit().filter(|_| in_order);
    if missing_limit.is_some_and(|limit| limit >= UNLIMITED) {
        return Err(Refusal::BeyondXen);
    }
    let mut plan = present.unchanged();
    plan.new.target = Some(target);
    plan.new.static_max = Some(static_max);
    plan.new.limit = missing_limit.unwrap_or(present.old.limit);
    plan.relies_on_store = plan.new.limit > plan.old.limit;
    plan.notes.extend(filled_in);
    Ok(plan)
}

fn finish(plan: &mut Plan, present: &Present, amount: Amount) {
    plan.relies_on_store = present.asked_limit(amount).is_some_and(|asked| plan.new.limit > asked);
    plan.notes.extend(present.filled_in());
}

/// A relative size of zero, which a script may have computed: not even the limit changes.
fn changes_nothing(size: Size) -> bool {
    matches!(size.amount, Amount::Up(Kib(0)) | Amount::Down(Kib(0)))
}

/// `from` plus the relative `amount`.
fn step(from: Kib, amount: Amount) -> Result<Kib, Refusal> {
    match amount {
        Amount::Up(more) => from.plus(more).ok_or(Refusal::BeyondXen),
        Amount::Down(less) => {
            from.minus(less).filter(|rest| rest.0 > 0).ok_or(Refusal::BelowZero { less, from })
        }
        Amount::To(_) | Amount::Target(_) | Amount::Maximum | Amount::Percent(_) => Ok(from),
    }
}

/// The target of a domain of `size`.
fn target_of(size: Kib, video: i32) -> Result<Kib, Refusal> {
    size.offset(i64::from(video).saturating_neg())
        .filter(|target| target.0 > 0 && size_of(*target, video) == size)
        .ok_or_else(|| Refusal::BelowVideo { size, video: Kib(i64::from(video).unsigned_abs()) })
}
