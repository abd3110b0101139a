//! The guests: how their balloons move.
//!
//! Owns the motion, as a function of the world and of the time that has passed. Never asks a clock.
//!
//! A balloon moves at its own even rate towards `memory/target` plus `memory/videoram`; growing, it
//! stops at the domain's limit and when the host has no free memory left. A domain that could move
//! carries the moment from which its motion counts; one that rests carries none, so that a world at
//! rest does not change by being looked at.

use super::tree::Tree;
use super::world::{SimDomain, World};
use crate::domain::DomId;
use crate::size::{Kib, PAGE};

/// How the guests are today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guests {
    /// They follow their targets.
    Follow,
    /// They find no memory to grow into.
    OnlyShrink,
    /// They do nothing.
    Ignore,
}

/// Moves every balloon to where it is at `now_ms`.
pub(super) fn advance(world: &mut World, guests: Guests, now_ms: u64) {
    if guests == Guests::Ignore {
        return;
    }
    let mut free = available(world, guests);
    let World { domains, xenstore, .. } = world;
    // What one guest gives up, another can take in the same moment.
    for growing in [false, true] {
        for (number, domain) in domains.iter_mut() {
            let Some(since_ms) = domain.moving_since_ms else { continue };
            let before = domain.current_kib;
            let reach = reach(domain, goal(xenstore, number.0), free);
            if (reach > before) != growing {
                continue;
            }
            let elapsed_ms = now_ms.saturating_sub(since_ms);
            let (current, used_ms) = step(before, reach, domain.rate_kib_per_second, elapsed_ms);
            domain.current_kib = current;
            // A clock that was set back must not stop the motion.
            domain.moving_since_ms = Some(since_ms.saturating_add(used_ms).min(now_ms));
            free = Kib(free.0.saturating_add(before.0).saturating_sub(current.0));
        }
    }
}

/// Notes for every domain whether its balloon moves, from `now_ms` on if it did not until now.
pub(super) fn note(world: &mut World, guests: Guests, now_ms: u64) {
    if guests == Guests::Ignore {
        return;
    }
    let free = available(world, guests);
    let World { domains, xenstore, .. } = world;
    for (number, domain) in domains.iter_mut() {
        let moves = reach(domain, goal(xenstore, number.0), free) != domain.current_kib;
        domain.moving_since_ms = moves.then(|| domain.moving_since_ms.unwrap_or(now_ms));
    }
}

/// What a guest that grows can get from the host.
fn available(world: &World, guests: Guests) -> Kib {
    match guests {
        Guests::Follow => Kib(world.free().0.saturating_sub(world.claimed().0)),
        Guests::OnlyShrink | Guests::Ignore => Kib(0),
    }
}

/// What the guest aims at: target and video memory; `None` when no target can be read.
fn goal(xenstore: &Tree, domid: DomId) -> Option<Kib> {
    let node = |name: &str| xenstore.value(&format!("/local/domain/{domid}/memory/{name}"));
    let target = Kib(node("target")?.parse().ok()?);
    let videoram: i64 = node("videoram").and_then(|text| text.parse().ok()).unwrap_or(0);
    target.offset(videoram).map(whole_pages)
}

/// How far the balloon can move now: where it is, when it does not move.
fn reach(domain: &SimDomain, goal: Option<Kib>, free: Kib) -> Kib {
    let current = domain.current_kib;
    let still = domain.paused || domain.dying || !domain.balloon;
    match goal {
        _ if still || domain.rate_kib_per_second < PAGE => current,
        None => current,
        Some(goal) if goal <= current => goal,
        Some(goal) => {
            let ceiling = domain.limit_kib.min(Kib(current.0.saturating_add(free.0)));
            whole_pages(goal.min(ceiling)).max(current)
        }
    }
}

/// Where a balloon at `current` is after `elapsed_ms` on its way to `reach`, in whole pages, and how
/// much of that time it used: what is left of a page's time counts for the next page.
fn step(current: Kib, reach: Kib, rate: Kib, elapsed_ms: u64) -> (Kib, u64) {
    let rate = u128::from(rate.0.max(1));
    // The products fit: 64 bits times 64 bits, or times 10 bits.
    let way = u64::try_from(rate.saturating_mul(elapsed_ms.into()) / 1000).unwrap_or(u64::MAX);
    let way = whole_pages(Kib(way)).0;
    if way >= current.0.abs_diff(reach.0) {
        return (reach, elapsed_ms);
    }
    let used_ms = u128::from(way).saturating_mul(1000).div_ceil(rate);
    let moved =
        if reach > current { current.0.saturating_add(way) } else { current.0.saturating_sub(way) };
    (Kib(moved), u64::try_from(used_ms).unwrap_or(elapsed_ms).min(elapsed_ms))
}

const fn whole_pages(kib: Kib) -> Kib {
    Kib::from_pages(kib.pages())
}
