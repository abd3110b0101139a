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

/// So many balloons are moved in each millisecond, and no more: of many that move, each is moved more seldom,
/// and the time that all of them take stays the same.
const EACH_MS: u64 = 16;

/// Whether it is time to move the balloons again, at `now_ms`.
pub(super) fn is_due(world: &World, now_ms: u64) -> bool {
    let many = u64::try_from(world.domains.unrest().len()).unwrap_or(u64::MAX);
    // A clock that was set back is as good as one that has gone on.
    world.moved_ms.is_none_or(|moved| now_ms.abs_diff(moved).saturating_mul(EACH_MS) >= many)
}

/// Moves every balloon to where it is at `now_ms`. Those that rest need not be looked at.
pub(super) fn advance(world: &mut World, guests: Guests, now_ms: u64) {
    if guests == Guests::Ignore {
        return;
    }
    let mut free = available(world, guests);
    let World { domains, xenstore, moved_ms, .. } = world;
    *moved_ms = Some(now_ms);
    let unrest: Vec<_> = domains.unrest().iter().copied().collect();
    let mut moving = Vec::new();
    for number in unrest {
        // Also one that has not moved is touched: it may be found that it can now.
        if domains.get_mut(number).is_some_and(|domain| domain.moving_since_ms.is_some()) {
            moving.push((number, goal(xenstore, number.0)));
        }
    }
    // What one guest gives up, another can take in the same moment.
    for growing in [false, true] {
        for (number, goal) in &moving {
            let Some(domain) = domains.get_mut(*number) else { continue };
            let Some(since_ms) = domain.moving_since_ms else { continue };
            let before = domain.current_kib;
            let reach = reach(domain, *goal, free);
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

/// Notes for every domain that was touched whether its balloon moves, from `now_ms` on if it did not until now.
pub(super) fn note(world: &mut World, guests: Guests, now_ms: u64) {
    if guests == Guests::Ignore {
        return;
    }
    let free = available(world, guests);
    let touched = world.touched();
    let World { domains, xenstore, .. } = world;
    for number in touched {
        let goal = goal(xenstore, number.0);
        let Some(domain) = domains.get_mut(number) else { continue };
        let moves = reach(domain, goal, free) != domain.current_kib;
        domain.moving_since_ms = moves.then(|| domain.moving_since_ms.unwrap_or(now_ms));
        // One that would not move if the whole host were free rests until it is touched.
        if reach(domain, goal, Kib(u64::MAX)) == domain.current_kib {
            domains.rests(number);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::start;
    use super::super::world::Number;
    use super::*;

    const TARGET: &str = "/local/domain/7/memory/target";

    fn web(world: &mut World) -> &mut SimDomain {
        world.domains.get_mut(Number(DomId::new(7).unwrap())).unwrap()
    }

    fn look(world: &mut World, guests: Guests, now_ms: u64) -> Kib {
        advance(world, guests, now_ms);
        note(world, guests, now_ms);
        web(world).current_kib
    }

    /// A world in which `web` has been told at 1000 ms to go from 1024 to `mib`, with room for it.
    fn told(mib: u64) -> World {
        let mut world = start::world();
        web(&mut world).limit_kib = Kib::from_mib(4096);
        world.xenstore.write(TARGET, &Kib::from_mib(mib).0.to_string());
        assert_eq!(look(&mut world, Guests::Follow, 1000), Kib::from_mib(1024));
        world
    }

    #[test]
    fn a_balloon_moves_evenly_and_stops_at_its_target() {
        for (mib, after_1_s, after_2_s) in [(512, 768, 512), (1536, 1280, 1536)] {
            let mut world = told(mib);
            assert_eq!(look(&mut world, Guests::Follow, 2000), Kib::from_mib(after_1_s));
            assert_eq!(look(&mut world, Guests::Follow, 3000), Kib::from_mib(after_2_s));
            assert_eq!(web(&mut world).moving_since_ms, None);
            assert_eq!(look(&mut world, Guests::Follow, 99_000), Kib::from_mib(after_2_s));
        }
    }

    #[test]
    fn a_world_at_rest_is_not_changed_by_looks() {
        let mut world = start::world();
        look(&mut world, Guests::Follow, 1_000_000);
        assert_eq!(world, start::world());
    }

    #[test]
    fn frequent_looks_slow_no_balloon_down() {
        let mut world = told(512);
        web(&mut world).rate_kib_per_second = Kib(40);
        // Another one moves fast, so that the world changes at every look.
        world.xenstore.write("/local/domain/8/memory/target", "4");
        for now_ms in 1000..=11_000 {
            look(&mut world, Guests::Follow, now_ms);
        }
        assert_eq!(web(&mut world).current_kib, Kib(1_048_576 - 400));
    }

    #[test]
    fn video_memory_is_on_top_of_the_target() {
        let of = |target: &str, videoram: Option<&str>| {
            let mut world = start::world();
            world.xenstore.write(TARGET, target);
            match videoram {
                Some(value) => world.xenstore.write("/local/domain/7/memory/videoram", value),
                None => world.xenstore.rm("/local/domain/7/memory/videoram").unwrap(),
            }
            goal(&world.xenstore, DomId::new(7).unwrap())
        };
        assert_eq!(of("524288", Some("16384")), Some(Kib(540_672)));
        assert_eq!(of("524288", None), Some(Kib(524_288)));
        assert_eq!(of("524289", Some("-1")), Some(Kib(524_288)));
        assert_eq!(of("524291", Some("what")), Some(Kib(524_288)));
        assert_eq!(of("what", Some("0")), None);
        assert_eq!(of("0", Some("-1")), None);
    }

    #[test]
    fn some_do_not_move() {
        let still: [fn(&mut SimDomain); 4] = [
            |domain| domain.paused = true,
            |domain| domain.dying = true,
            |domain| domain.balloon = false,
            |domain| domain.rate_kib_per_second = Kib(0),
        ];
        for stop in still {
            let mut world = told(512);
            stop(web(&mut world));
            look(&mut world, Guests::Follow, 3000);
            assert_eq!(look(&mut world, Guests::Follow, 9000), Kib::from_mib(1024));
        }
        assert_eq!(look(&mut told(512), Guests::Ignore, 9000), Kib::from_mib(1024));
        assert_eq!(look(&mut told(2048), Guests::OnlyShrink, 9000), Kib::from_mib(1024));
        assert_eq!(look(&mut told(512), Guests::OnlyShrink, 9000), Kib::from_mib(512));
    }

    #[test]
    fn the_time_of_a_pause_or_of_a_tight_limit_does_not_count() {
        let mut world = told(1536);
        web(&mut world).limit_kib = Kib::from_mib(1024);
        look(&mut world, Guests::Follow, 1000);
        assert_eq!(look(&mut world, Guests::Follow, 50_000), Kib::from_mib(1024));
        web(&mut world).limit_kib = Kib::from_mib(4096);
        look(&mut world, Guests::Follow, 50_000);
        assert_eq!(look(&mut world, Guests::Follow, 50_500), Kib::from_mib(1152));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut world = told(512);
        look(&mut world, Guests::Follow, 400);
        assert_eq!(look(&mut world, Guests::Follow, 1400), Kib::from_mib(768));
    }

    #[test]
    fn what_one_gives_up_another_takes() {
        let mut world = told(2048);
        world.memory = Kib::from_mib(7 * 1024); // nothing is free
        look(&mut world, Guests::Follow, 1000);
        assert_eq!(look(&mut world, Guests::Follow, 2000), Kib::from_mib(1024));
        world.xenstore.write("/local/domain/8/memory/target", &Kib::from_mib(1536).0.to_string());
        look(&mut world, Guests::Follow, 2000);
        look(&mut world, Guests::Follow, 3000);
        look(&mut world, Guests::Follow, 9000);
        assert_eq!((world.free(), web(&mut world).current_kib), (Kib(0), Kib::from_mib(1536)));
    }

    /// Looks at a world of which anything may be odd: what is wanted of `web` and `db`, how much they
    /// may hold, how much the host has, and when somebody looks.
    fn odd() -> impl Strategy<Value = (World, Vec<u64>)> {
        let mib = || 0_u64..5000;
        let guest = (mib(), mib(), mib(), 0_u64..1 << 20);
        (guest.clone(), guest, mib(), prop::collection::vec(0_u64..3000, 1..20)).prop_map(
            |(web, db, spare, mut looks)| {
                let mut world = start::world();
                for (domid, (target, limit, current, rate)) in [(7, web), (8, db)] {
                    let domain = world.domains.get_mut(Number(DomId::new(domid).unwrap())).unwrap();
                    domain.limit_kib = Kib::from_mib(limit);
                    domain.current_kib = Kib::from_mib(current);
                    domain.rate_kib_per_second = Kib(rate);
                    let path = format!("/local/domain/{domid}/memory/target");
                    world.xenstore.write(&path, &Kib::from_mib(target).0.to_string());
                }
                let held = world.domains.values().map(|domain| domain.current_kib.0).sum::<u64>();
                world.memory = Kib(Kib::from_mib(spare).0.saturating_add(held));
                looks.sort_unstable();
                (world, looks)
            },
        )
    }

    /// What somebody does to one of the guests, so many milliseconds after what was done before.
    fn deeds() -> impl Strategy<Value = Vec<(u64, u32, u8, u64)>> {
        prop::collection::vec((0_u64..900, 7_u32..10, 0_u8..6, 0_u64..4000), 1..40)
    }

    fn deed(world: &mut World, domid: u32, what: u8, mib: u64) {
        let kib = Kib::from_mib(mib);
        let node = |name: &str| format!("/local/domain/{domid}/memory/{name}");
        match what {
            0 => world.xenstore.write(&node("target"), &kib.0.to_string()),
            1 => world.xenstore.write(&node("videoram"), &mib.to_string()),
            2 => drop(world.xenstore.rm(&format!("/local/domain/{domid}"))),
            _ => {
                let domain = world.domains.get_mut(Number(DomId::new(domid).unwrap())).unwrap();
                match what {
                    3 => domain.limit_kib = kib,
                    4 => domain.paused = mib.is_multiple_of(2),
                    _ => domain.outstanding_kib = Kib(mib),
                }
            }
        }
    }

    #[test]
    fn of_many_each_is_moved_more_seldom() {
        let mut world = start::world();
        assert!(is_due(&world, 1000), "nobody has looked yet");
        advance(&mut world, Guests::Follow, 1000);
        note(&mut world, Guests::Follow, 1000);
        assert_eq!((world.take_record(), world.domains.unrest().len()), (None, 0));
        assert!(is_due(&world, 1000), "nobody moves: it takes nothing");
        let web = world.domains.values().nth(1).unwrap().clone();
        for domid in 100..260 {
            world.domains.put(Number(DomId::new(domid).unwrap()), web.clone());
        }
        assert_eq!(world.domains.unrest().len(), 160);
        let due = |now_ms| is_due(&world, now_ms);
        assert_eq!([1000, 1009, 1010, 991, 990].map(due), [false, false, true, false, true]);
    }

    proptest! {
        /// To look only at those that may be moving is as good as to look at all.
        #[test]
        fn nobody_is_overlooked(deeds in deeds(), memory in 6 * 1024_u64..8 * 1024) {
            let mut world = start::world();
            // The guests and dom0 hold 7 GiB.
            world.memory = Kib::from_mib(memory);
            let mut model = world.clone();
            let mut now_ms = 1000_u64;
            for (pause_ms, domid, what, mib) in deeds {
                now_ms = now_ms.saturating_add(pause_ms);
                advance(&mut world, Guests::Follow, now_ms);
                deed(&mut world, domid, what, mib);
                note(&mut world, Guests::Follow, now_ms);
                for number in model.domains.keys().copied().collect::<Vec<_>>() {
                    model.domains.get_mut(number).unwrap();
                }
                advance(&mut model, Guests::Follow, now_ms);
                deed(&mut model, domid, what, mib);
                note(&mut model, Guests::Follow, now_ms);
                world.take_record();
                model.take_record();
                prop_assert_eq!(&world, &model);
            }
        }

        #[test]
        fn never_past_the_target_the_limit_or_the_host((mut world, looks) in odd()) {
            for now_ms in looks {
                let before = world.clone();
                look(&mut world, Guests::Follow, now_ms);
                let held = world.domains.values().map(|domain| domain.current_kib.0).sum::<u64>();
                prop_assert!(held <= world.memory.0);
                for (number, after) in &*world.domains {
                    let was = before.domains[number].current_kib;
                    let goal = goal(&world.xenstore, number.0).unwrap();
                    let is = after.current_kib;
                    prop_assert!((was <= is && is <= goal) || (goal <= is && is <= was));
                    prop_assert!(is <= was || is <= after.limit_kib);
                    prop_assert_eq!(is.0 % PAGE.0, 0);
                }
            }
        }

        #[test]
        fn the_same_looks_show_the_same((world, looks) in odd()) {
            let run = || {
                let mut world = world.clone();
                looks.iter().map(|now_ms| look(&mut world, Guests::Follow, *now_ms)).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(), run());
        }

        #[test]
        fn a_step_is_monotone_and_uses_no_more_than_its_time(
            current: u32, reach: u32, rate in 0_u64..1 << 40, early in 0_u64..1 << 40, late in 0_u64..1 << 40,
        ) {
            let (current, reach) = (Kib::from_pages(current.into()), Kib::from_pages(reach.into()));
            let (first, first_used) = step(current, reach, Kib(rate), early.min(late));
            let (second, second_used) = step(current, reach, Kib(rate), early.max(late));
            let way = |kib: Kib| current.0.abs_diff(kib.0);
            prop_assert!(way(first) <= way(second) && way(second) <= way(reach));
            prop_assert!(first_used <= early.min(late) && second_used <= early.max(late));
            // Two steps come as far as one, but for what a millisecond brings.
            let rest = early.max(late).saturating_sub(first_used);
            let (third, _) = step(first, reach, Kib(rate), rest);
            prop_assert!(way(third) <= way(second));
            prop_assert!(way(second).abs_diff(way(third)) <= (rate / 1000).saturating_add(5));
        }

        #[test]
        fn never_panics(current: u64, reach: u64, rate: u64, elapsed: u64) {
            step(Kib(current), Kib(reach), Kib(rate), elapsed);
        }
    }
}
