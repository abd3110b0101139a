//! Plans: which domain gives how much.

#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use proptest::prelude::*;
use xen::Kib;
use xmem_core::failure::Cause;
use xmem_core::plan::Refusal;
use xmem_core::reclaim::{
    DonorSelection, Exclusion, FloorReason, Priority, ReclaimError, ReclaimPlan, ReclaimRequest,
    plan_reclaim,
};
use xmem_core::size::{Amount, Size};
use xmem_core::state::State;
use xmem_sim::{GuestType, World};

use crate::requests::{by_name, full, named, request, to};
use crate::testbed::{Bed, mib};

fn plan(bed: &Bed, request: &ReclaimRequest) -> ReclaimPlan {
    plan_reclaim(&bed.host(), request).unwrap()
}

/// The donors' names and shares in MiB.
fn shares(plan: &ReclaimPlan) -> Vec<(String, u64)> {
    let name = |donor: &xmem_core::reclaim::Donor| donor.domain.name.as_ref().unwrap().to_string();
    plan.donors.iter().map(name).zip(plan.shares.iter().map(|share| share.mib())).collect()
}

fn shared(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
}

#[test]
fn even_shares_are_the_same_fraction_of_what_is_above_each_floor() {
    let bed = full();
    // They can give 512, 1536 and 3584 MiB.
    let plan = plan(&bed, &request(2816, &["a", "b", "c"]));
    assert_eq!(shares(&plan), shared(&[("a", 256), ("b", 768), ("c", 1792)]));
    assert_eq!((plan.goal, plan.available, plan.possible()), (mib(2816), mib(0), mib(5632)));
    assert!(plan.is_enough());
}

#[test]
fn in_order_the_first_domain_gives_all_it_can() {
    let bed = full();
    let order =
        ReclaimRequest { priority: Priority::Order, ..request(2816, &["b", "2", "c", "a"]) };
    assert_eq!(shares(&plan(&bed, &order)), shared(&[("b", 1536), ("c", 1280), ("a", 0)]));
}

#[test]
fn free_memory_and_memory_being_ballooned_out_are_not_reclaimed_again() {
    let bed = full();
    bed.edit(|world| {
        world.memory_kib = mib(9 * 1024 + 100);
        // c holds 96 MiB more than its target.
        world.write("/local/domain/3/memory/target", &mib(4000).0.to_string());
        world.domains.get_mut(&3).unwrap().balloon = false;
    });
    let plan = plan(&bed, &request(200, &["a", "b", "c"]));
    assert_eq!((plan.available, plan.coming()), (mib(100), mib(96)));
    assert_eq!(plan.shares.iter().map(|share| share.mib()).sum::<u64>(), 4);
}

/// Available is free and scrubbed memory minus claims; the reserve is added to what is needed.
#[test]
fn claimed_memory_is_not_available_and_the_reserve_is_added() {
    let bed = full();
    bed.edit(|world| {
        world.memory_kib = mib(9 * 1024 + 100);
        world.domains.get_mut(&1).unwrap().outstanding_kib = mib(60);
    });
    let request = ReclaimRequest { keep_free: Some(mib(24)), ..request(100, &["b"]) };
    let plan = plan(&bed, &request);
    assert_eq!((plan.goal, plan.available), (mib(124), mib(40)));
    assert_eq!(shares(&plan), shared(&[("b", 84)]));
}

#[test]
fn a_plan_that_is_not_enough_says_how_much_is_possible() {
    let bed = full();
    let plan = plan(&bed, &request(3000, &["a", "b"]));
    assert!(!plan.is_enough());
    assert_eq!(plan.possible(), mib(2048));
    assert_eq!(shares(&plan), shared(&[("a", 512), ("b", 1536)]));
}

#[test]
fn the_floor_is_the_highest_of_the_option_the_guests_use_and_the_minimum() {
    let bed = full();
    bed.edit(|world| {
        // Uses 800 MiB.
        world.write("/local/domain/2/data/meminfo_total", &mib(2000).0.to_string());
        world.write("/local/domain/2/data/meminfo_free", &mib(1200).0.to_string());
    });
    let floors = |request: &ReclaimRequest| -> Vec<(Kib, FloorReason)> {
        let donors = plan(&bed, request).donors;
        donors.iter().map(|donor| (donor.floor.size, donor.floor.reason)).collect()
    };
    let used = (mib(900), FloorReason::Used(mib(800)));
    let without = ReclaimRequest { floor: Vec::new(), ..request(1, &["a", "b", "c"]) };
    assert_eq!(
        floors(&without),
        [(mib(512), FloorReason::Half), used, (mib(2048), FloorReason::Half)]
    );
    let asked = |size| (mib(size), FloorReason::Asked);
    assert_eq!(floors(&request(1, &["a", "b", "c"])), [asked(512), used, asked(512)]);
    let single = ReclaimRequest {
        floor: vec![to(mib(1))],
        floors: vec![
            (by_name("b"), to(mib(1024))),
            (by_name("3"), Size { amount: Amount::Percent(25), cut: 0 }),
        ],
        ..request(1, &["a", "b", "c"])
    };
    assert_eq!(floors(&single), [(mib(32), FloorReason::Minimum), asked(1024), asked(2048)]);
}

/// A floor that was given is never passed over, in any order. Only a domain's own floor can be lower than that for all.
#[test]
fn the_largest_of_several_floors_counts() {
    let bed = full();
    let floor = |all: &[u64], own: &[(&str, u64)]| {
        let floor = all.iter().map(|size| to(mib(*size))).collect();
        let floors = own.iter().map(|(name, size)| (by_name(name), to(mib(*size)))).collect();
        plan(&bed, &ReclaimRequest { floor, floors, ..request(1, &["b"]) }).donors[0].floor.size
    };
    for (all, own, expected) in [
        (&[1024, 256][..], &[][..], 1024),
        (&[256, 1024], &[], 1024),
        (&[], &[("b", 1024), ("id:2", 512)], 1024),
        (&[], &[("id:2", 512), ("b", 1024)], 1024),
        (&[1024], &[("b", 128), ("2", 256)], 256),
    ] {
        assert_eq!(floor(all, own), mib(expected), "{all:?} {own:?}");
    }
}

#[test]
fn only_running_unmanaged_guests_give_memory() {
    let bed = full();
    bed.edit(|world| {
        for (domid, name) in
            [(4, "paused"), (5, "managed"), (6, "c-dm"), (7, "keyless"), (8, "gone")]
        {
            world.create(domid, name, GuestType::Pvh, mib(1024), mib(1024), 0);
        }
        world.memory_kib = mib(14 * 1024);
        world.domains.get_mut(&4).unwrap().paused = true;
        world.write("/local/domain/5/memory/dynamic-max", "1048576");
        world.write("/local/domain/6/target", "3");
        world.remove("/local/domain/7/memory/target");
        world.domains.get_mut(&8).unwrap().dying = true;
    });
    let names = ["Domain-0", "paused", "managed", "c-dm", "keyless", "a"];
    let plan = |from| plan(&bed, &ReclaimRequest { from, ..request(14000, &[]) });
    let excluded = plan(named(&names));
    let exclusions: Vec<_> = excluded.donors.iter().map(|donor| donor.exclusion.clone()).collect();
    assert_eq!(exclusions[0], Some(Exclusion::Dom0));
    assert_eq!(exclusions[1], Some(Exclusion::State(State::Paused)));
    assert!(matches!(exclusions[2], Some(Exclusion::Managed(_))));
    assert!(matches!(exclusions[3], Some(Exclusion::DeviceModel(_))));
    assert!(matches!(exclusions[4], Some(Exclusion::Refused(Refusal::NoKey { .. }))));
    assert_eq!(exclusions[5], None);
    assert_eq!(excluded.shares, [mib(0), mib(0), mib(0), mib(0), mib(0), mib(512)]);
    let all = plan(DonorSelection::All);
    // A guest that runs and gives nothing has its reason.
    let expected = [("a", 512), ("b", 1536), ("c", 3584), ("c-dm", 0), ("keyless", 0)];
    assert_eq!(shares(&all), shared(&expected));
}

/// The change itself would refuse them.
#[test]
fn guests_whose_numbers_allow_no_change_give_nothing() {
    for (node, value, why) in [
        ("static-max", Some("900000"), "above the domain's maximum"),
        ("static-max", None, "xenstore has no memory/static-max for the domain"),
        ("static-max", Some("x"), "\"x\" at /local/domain/1/memory/static-max"),
        ("videoram", Some("x"), "\"x\" at /local/domain/1/memory/videoram"),
    ] {
        let bed = full();
        bed.edit(|world| {
            let path = format!("/local/domain/1/memory/{node}");
            match value {
                Some(value) => world.write(&path, value),
                None => world.remove(&path),
            }
        });
        let plan = |from| plan(&bed, &ReclaimRequest { from, ..request(1, &[]) });
        let one = plan(named(&["a"]));
        assert!(one.donors[0].exclusion.as_ref().unwrap().to_string().contains(why), "{one:?}");
        assert!(!one.is_enough());
        let all = plan(DonorSelection::All);
        assert_eq!(all.donors[0].exclusion, one.donors[0].exclusion);
    }
}

#[test]
fn every_missing_domain_is_reported() {
    let bed = full();
    let error = plan_reclaim(&bed.host(), &request(1, &["a", "x", "y", "99"])).unwrap_err();
    let ReclaimError::Failures(failures) = error else { panic!("{error:?}") };
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|failure| matches!(failure.cause, Cause::Resolve(_))));
}

#[test]
fn a_floor_of_another_domain_or_a_relative_one_is_refused() {
    let bed = full();
    let stray = ReclaimRequest { floors: vec![(by_name("c"), to(mib(1)))], ..request(1, &["a"]) };
    let error = plan_reclaim(&bed.host(), &stray).unwrap_err();
    assert!(matches!(error, ReclaimError::StrayFloor(_)), "{error:?}");
    let relative = Size { amount: Amount::Up(mib(1)), cut: 0 };
    let error =
        plan_reclaim(&bed.host(), &ReclaimRequest { floor: vec![relative], ..request(1, &["a"]) });
    assert!(matches!(error, Err(ReclaimError::RelativeFloor)), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_plan_keeps_to_the_floors_and_is_enough_or_says_what_is_possible(
        guests in prop::collection::vec((33..4096_u64, 1..4096_u64, 0..4096_u64, 0..64_u64), 1..6),
        size in 1..20_000_u64,
        free in 0..2000_u64,
        even: bool,
    ) {
        let mut world = World::empty(mib(0));
        let mut held = free;
        for (domid, (size, floor, used, above)) in (1_u16..).zip(&guests) {
            let guest = world.create(domid, &format!("g{domid}"), GuestType::Pv, mib(*size), mib(8192), 0);
            guest.current_kib = mib(size + above);
            guest.balloon = false;
            held += size + above;
            if *used < floor / 2 {
                world.write(&format!("/local/domain/{domid}/memory/meminfo"), &mib(*used).0.to_string());
            }
        }
        world.memory_kib = mib(held);
        let bed = Bed::new(world);
        let floors = (1..).zip(&guests).map(|(domid, (_, floor, _, _))| {
            (by_name(&format!("g{domid}")), to(mib(*floor)))
        });
        let request = ReclaimRequest {
            from: DonorSelection::All,
            floor: Vec::new(),
            floors: floors.collect(),
            priority: if even { Priority::Even } else { Priority::Order },
            ..request(size, &[])
        };
        let plan = plan(&bed, &request);
        let mut sum = plan.available.0 + plan.coming().0;
        for (donor, share) in plan.donors.iter().zip(&plan.shares) {
            let (_, floor, _, _) = guests[usize::from(donor.domain.identity.domid.get()) - 1];
            prop_assert!(donor.floor.size >= mib(floor.max(32)));
            prop_assert!(*share == mib(0) || donor.size.0 - share.0 >= donor.floor.size.0);
            sum += share.0;
        }
        prop_assert_eq!(plan.is_enough(), sum >= plan.goal.0);
        if plan.is_enough() {
            prop_assert!(plan.shares.iter().all(|share| share.0 == 0) || sum < plan.goal.0 + 1024);
        } else {
            prop_assert_eq!(sum, plan.possible().0);
        }
    }
}
