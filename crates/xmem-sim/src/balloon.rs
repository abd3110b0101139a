//! The position of each guest's balloon at a given time.
//!
//! A balloon moves evenly towards the balloon target plus video memory. A growing balloon stops at the domain's
//! limit, or when the host has no free memory left.

use xen::Kib;
use xen::size::PAGE;

use crate::world::{SimDomain, World};

/// A rate that reaches the target at once.
const INSTANT: Kib = Kib(u64::MAX);

/// Moves every balloon to its position at `now_ms`, on a host with `free` memory, claimed memory included.
pub(crate) fn advance(world: &mut World, now_ms: u64, free: Kib) {
    let goals: Vec<Option<Kib>> = world.domains.keys().map(|domid| goal(world, *domid)).collect();
    let mut free = free.0.saturating_sub(world.claimed().0);
    // Shrink first: a guest can use at once what another gives back.
    for growing in [false, true] {
        for (domain, goal) in world.domains.values_mut().zip(&goals) {
            let before = domain.current_kib;
            let reach = reach(domain, *goal, Kib(free));
            if reach == before {
                domain.moving_since_ms = None;
            } else if (reach > before) == growing {
                let since_ms = domain.moving_since_ms.unwrap_or(now_ms);
                let elapsed_ms = now_ms.saturating_sub(since_ms);
                let (now, used_ms) = step(before, reach, domain.rate_kib_per_second, elapsed_ms);
                domain.current_kib = now;
                // A clock that was set back must not stop the balloon.
                let since_ms = since_ms.saturating_add(used_ms).min(now_ms);
                domain.moving_since_ms = (now != reach).then_some(since_ms);
                free = free.saturating_add(before.0).saturating_sub(now.0);
            }
        }
    }
}

/// The target of the guest's balloon driver; `None` without a valid one.
fn goal(world: &World, domid: u16) -> Option<Kib> {
    let videoram: i64 = world.memory_node(domid, "videoram").unwrap_or(0);
    world.balloon_target(domid)?.offset(videoram).map(whole_pages)
}

/// The size that the balloon can reach now.
fn reach(domain: &SimDomain, goal: Option<Kib>, free: Kib) -> Kib {
    let current = domain.current_kib;
    let runs = !domain.paused && !domain.dying && domain.shutdown.is_none() && domain.vcpus > 0;
    let moves = runs && domain.balloon && domain.rate_kib_per_second >= PAGE;
    match goal.filter(|_| moves) {
        None => current,
        Some(goal) if goal <= current => goal,
        Some(goal) => {
            let most = domain.limit_kib.min(Kib(current.0.saturating_add(free.0)));
            whole_pages(goal.min(most)).max(current)
        }
    }
}

/// The position of a balloon after `elapsed_ms` on its way from `current` to `reach`, in whole pages, and the time that
/// it used. The rest counts towards the next page, so that frequent reads do not slow a balloon down.
pub(crate) fn step(current: Kib, reach: Kib, rate: Kib, elapsed_ms: u64) -> (Kib, u64) {
    let per_second = u128::from(rate.0.max(1));
    let way = per_second.saturating_mul(elapsed_ms.into()) / 1000;
    let way = whole_pages(Kib(u64::try_from(way).unwrap_or(u64::MAX))).0;
    if rate == INSTANT || way >= current.0.abs_diff(reach.0) {
        return (reach, elapsed_ms);
    }
    let used_ms = u128::from(way).saturating_mul(1000).div_ceil(per_second);
    let now =
        if reach > current { current.0.saturating_add(way) } else { current.0.saturating_sub(way) };
    (Kib(now), u64::try_from(used_ms).unwrap_or(elapsed_ms).min(elapsed_ms))
}

const fn whole_pages(kib: Kib) -> Kib {
    Kib::from_pages(kib.pages())
}
