//! Execution of plans.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use xen::lock::Lock;
use xen::xenstore::Answer;
use xen::{DomId, Identity, Interrupt, Kib, NoInterrupt};
use xmem_core::change::ChangeStatus;
use xmem_core::failure::Aftermath;
use xmem_core::reclaim::{
    DonorSelection, Exclusion, Priority, ReclaimEnd, ReclaimEvent, ReclaimReport, ReclaimRequest,
    plan_reclaim, reclaim,
};
use xmem_core::wait::WaitEvent;
use xmem_sim::{Call, Failure, GuestType, SimHost, Verdict, World};

use crate::requests::{full, named, request};
use crate::testbed::{Bed, mib};

fn run_on(
    host: &SimHost,
    request: &ReclaimRequest,
    interrupt: &dyn Interrupt,
) -> (ReclaimReport, Vec<ReclaimEvent>) {
    let plan = plan_reclaim(host, request).unwrap();
    let mut events = Vec::new();
    let report = reclaim(host, plan, request, interrupt, &mut |event| events.push(event));
    (report, events)
}

fn run(bed: &Bed, request: &ReclaimRequest) -> (ReclaimReport, Vec<ReclaimEvent>) {
    run_on(&bed.host(), request, &bed.sleeper())
}

fn plans(events: &[ReclaimEvent]) -> usize {
    events.iter().filter(|event| matches!(event, ReclaimEvent::Planned(_))).count()
}

#[test]
fn the_host_gets_what_was_asked_for_and_other_guests_are_not_touched() {
    let bed = full();
    let (report, events) = run(&bed, &request(1536, &["b", "c"]));
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(report.available >= mib(1536) && bed.available() >= mib(1536), "{report:?}");
    assert_eq!(plans(&events), 1);
    assert_eq!(
        (bed.size(1), bed.size(2), bed.size(3)),
        (mib(1024), mib(2048 - 461), mib(4096 - 1075))
    );
    assert_eq!(bed.limit(2), mib(2048 - 461 + 1));
    assert_eq!(report.donors[0].asked, Some(mib(2048 - 461)));
    // Asked again, the host has it already.
    let (report, events) = run(&bed, &request(1536, &["b", "c"]));
    assert!(matches!(report.end, ReclaimEnd::Reached) && events.is_empty(), "{report:?}");
}

/// How the waits ended.
fn ends(events: &[ReclaimEvent]) -> Vec<&'static str> {
    let end = |event: &ReclaimEvent| match event {
        ReclaimEvent::Wait(_, WaitEvent::Ended(report)) => Some(report.end.word()),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

/// The waits were called interrupted.
#[test]
fn guests_that_still_shrink_when_the_host_has_enough_are_not_needed() {
    let bed = full();
    let destroyed = bed.sleeper().at(600, |world| world.destroy(1));
    let (report, events) = run_on(&bed.host(), &request(2500, &["b", "c"]), &destroyed);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(ends(&events).contains(&"not-needed"), "{events:?}");
    assert!(!ends(&events).contains(&"interrupted"), "{events:?}");
    assert!(report.donors.iter().all(|donor| donor.exclusion.is_none()), "{report:?}");
}

#[test]
fn each_guest_gives_its_planned_share_even_if_that_is_nearly_all() {
    for size in [1000, 4000, 5400, 5632] {
        let bed = full();
        let request = request(size, &["a", "b", "c"]);
        let plan = plan_reclaim(&bed.host(), &request).unwrap();
        let sizes: Vec<Kib> = plan
            .donors
            .iter()
            .zip(&plan.shares)
            .map(|(donor, share)| donor.size_after(*share))
            .collect();
        let (report, events) = run(&bed, &request);
        assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
        assert_eq!(plans(&events), 1, "{size}");
        assert_eq!([1, 2, 3].map(|domid| bed.size(domid)).as_slice(), sizes, "{size}");
    }
}

#[test]
fn a_plan_that_is_not_enough_changes_nothing() {
    let bed = full();
    let before = bed.edit(|world| world.clone());
    let (report, events) = run(&bed, &request(3000, &["a", "b"]));
    assert!(
        matches!(report.end, ReclaimEnd::NotEnough { possible } if possible == mib(2048)),
        "{report:?}"
    );
    assert!(events.is_empty());
    assert_eq!(bed.edit(|world| world.clone()), before);
}

#[test]
fn when_a_guest_does_not_follow_the_others_give_more_down_to_their_floors() {
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&2).unwrap().balloon = false);
    let (report, events) = run(&bed, &request(2000, &["a", "b", "c"]));
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(plans(&events) > 1);
    assert_eq!(report.donors[1].exclusion, Some(Exclusion::GaveLess));
    assert_eq!(report.donors[1].gave(), mib(0));
    for (domid, floor) in [(1, 512), (3, 512)] {
        assert!(bed.size(domid) >= mib(floor), "{report:?}");
    }
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&3).unwrap().balloon = false);
    let (report, _) = run(&bed, &request(3000, &["a", "b", "c"]));
    assert!(matches!(report.end, ReclaimEnd::FellShort), "{report:?}");
    // The changes stand, and no guest is below its floor.
    assert!(bed.size(3) < mib(4096) && bed.size(1) >= mib(512) && bed.size(2) >= mib(512));
}

/// A guest has reached its target a MiB before the end, which the host needs too.
#[test]
fn guests_on_their_last_mib_are_waited_for_and_asked_for_no_more() {
    // Half of what it can spare, and all: then it cannot give more.
    for goal in [256, 512] {
        let bed = full();
        bed.edit(|world| world.domains.get_mut(&1).unwrap().rate_kib_per_second = Kib(10_240));
        let (report, events) = run(&bed, &request(goal, &["a"]));
        assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
        assert_eq!((bed.size(1), plans(&events)), (mib(1024 - goal), 1), "{report:?}");
    }
}

#[test]
fn a_locked_domain_is_passed_over() {
    let bed = full();
    let uuid = "00000000-0000-4000-8000-000000000003".parse().unwrap();
    let identity = Identity { domid: DomId::new(3).unwrap(), uuid };
    let _lock =
        Lock::take(bed.state_dir(), identity, Duration::from_secs(5), &NoInterrupt).unwrap();
    let request = ReclaimRequest { lock_timeout: Duration::ZERO, ..request(1500, &["b", "c"]) };
    let (report, events) = run(&bed, &request);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(events.iter().any(|event| matches!(event, ReclaimEvent::NotChanged(1, _))));
    assert_eq!(report.donors[1].exclusion, Some(Exclusion::NotChanged));
    assert_eq!((bed.size(2), bed.size(3)), (mib(2048 - 1500), mib(4096)));
}

#[test]
fn or_restore_gives_memory_back_after_a_failure() {
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&3).unwrap().balloon = false);
    let request = ReclaimRequest { or_restore: true, ..request(3000, &["a", "b", "c"]) };
    let (report, events) = run(&bed, &request);
    assert!(matches!(report.end, ReclaimEnd::FellShort), "{report:?}");
    assert!(report.donors.iter().all(|donor| donor.restored), "{report:?}");
    let restored = events.iter().filter(|event| matches!(event, ReclaimEvent::Restored(..)));
    assert_eq!(restored.count(), 3);
    for (domid, size) in [(1, 1024), (2, 2048), (3, 4096)] {
        assert_eq!((bed.size(domid), bed.limit(domid)), (mib(size), mib(size + 1)));
    }
}

/// The one before the run, as after `max`, or the one that another program has set meanwhile.
#[test]
fn or_restore_restores_the_limit_too() {
    for (other, expected) in [(None, 2049), (Some(3000), 3000)] {
        let bed = full();
        bed.edit(|world| world.domains.get_mut(&3).unwrap().balloon = false);
        bed.edit(|world| world.domains.get_mut(&1).unwrap().limit_kib = mib(2049));
        let sleeper = bed.sleeper().at(500, move |world| {
            if let Some(other) = other {
                world.domains.get_mut(&1).unwrap().limit_kib = mib(other);
            }
        });
        let request = ReclaimRequest { or_restore: true, ..request(3000, &["a", "b", "c"]) };
        let (report, _) = run_on(&bed.host(), &request, &sleeper);
        assert!(report.donors[0].restored, "{report:?}");
        assert_eq!((bed.size(1), bed.limit(1)), (mib(1024), mib(expected)));
    }
}

/// The failure is that of the restore, not of a change that left everything as it was.
#[test]
fn a_restore_that_fails_says_which_size_stays() {
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&1).unwrap().balloon = false);
    // A restore that is rolled back.
    let commits = AtomicU32::new(0);
    let host = bed.observed(move |call: &Call<'_>| match call {
        Call::Commit if commits.fetch_add(1, Ordering::SeqCst) > 0 => {
            Verdict::Fail(Failure::Answer(Answer::NoSpace))
        }
        _ => Verdict::Proceed,
    });
    let request = ReclaimRequest { or_restore: true, ..request(256, &["a"]) };
    let stays = Aftermath::NotRestored { before: mib(1024), size: mib(768) };
    let aftermath = |(_, events): (ReclaimReport, Vec<ReclaimEvent>)| {
        events.into_iter().find_map(|event| match event {
            ReclaimEvent::Restored(0, result) => Some(result.unwrap_err().aftermath),
            _ => None,
        })
    };
    assert_eq!(aftermath(run_on(&host, &request, &bed.sleeper())).as_ref(), Some(&stays));
    assert_eq!((bed.size(1), bed.limit(1)), (mib(768), mib(769)));
    // One that is refused.
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&1).unwrap().balloon = false);
    let broken =
        bed.sleeper().at(50, |world| world.write("/local/domain/1/memory/static-max", "x"));
    assert_eq!(aftermath(run_on(&bed.host(), &request, &broken)), Some(stays));
    assert_eq!(bed.size(1), mib(768));
}

#[test]
fn a_target_that_another_program_set_meanwhile_is_not_restored() {
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&3).unwrap().balloon = false);
    let request = ReclaimRequest { or_restore: true, ..request(3000, &["a", "b", "c"]) };
    let other = bed.sleeper().at(500, |world| {
        world.write("/local/domain/1/memory/target", &mib(700).0.to_string());
        world.domains.get_mut(&1).unwrap().limit_kib = mib(701);
    });
    let (report, _) = run_on(&bed.host(), &request, &other);
    assert!(!matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(!report.donors[0].restored && report.donors[1].restored, "{report:?}");
    assert_eq!((bed.size(1), bed.limit(1)), (mib(700), mib(701)));
    assert_eq!(bed.size(2), mib(2048));
}

/// Between two changes of this run.
#[test]
fn a_size_that_another_program_set_in_between_is_the_one_to_restore() {
    let bed = full();
    bed.edit(|world| world.domains.get_mut(&3).unwrap().balloon = false);
    let request = ReclaimRequest { or_restore: true, ..request(1500, &["a", "b", "c"]) };
    let other = bed.sleeper().at(100, |world| {
        world.write("/local/domain/2/memory/target", &mib(1500).0.to_string());
        let b = world.domains.get_mut(&2).unwrap();
        (b.limit_kib, b.balloon) = (mib(1501), false);
    });
    let (report, events) = run_on(&bed.host(), &request, &other);
    let changed = |event: &&ReclaimEvent| matches!(event, ReclaimEvent::Changed(1, _));
    assert_eq!(events.iter().filter(changed).count(), 2, "{events:?}");
    assert!(report.donors[1].restored, "{report:?}");
    assert_eq!((bed.size(2), bed.limit(2)), (mib(1500), mib(1501)));
}

#[test]
fn or_restore_gives_memory_back_after_an_interrupt() {
    for or_restore in [false, true] {
        let bed = full();
        let request = ReclaimRequest { or_restore, ..request(3000, &["c"]) };
        let interrupt = bed.sleeper().interrupting_at(1000);
        let (report, events) = run_on(&bed.host(), &request, &interrupt);
        assert!(matches!(report.end, ReclaimEnd::Interrupted), "{report:?}");
        assert_eq!(ends(&events), ["interrupted"]);
        assert_eq!(bed.size(3), mib(if or_restore { 4096 } else { 1096 }));
    }
}

#[test]
fn a_domain_built_meanwhile_keeps_its_claim_and_the_others_give_more() {
    let bed = full();
    let built = bed.sleeper().at(600, |world| {
        let guest = world.create(9, "new", GuestType::Pvh, mib(0), mib(1024), 0);
        (guest.paused, guest.vcpus, guest.cpu_time_ms) = (true, 0, 0);
        guest.outstanding_kib = mib(300);
    });
    let (report, events) = run_on(&bed.host(), &request(1024, &["b", "c"]), &built);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(plans(&events) > 1 && bed.available() >= mib(1024), "{report:?}");
    // A claim larger than the guests can give ends it: the host stays short.
    let bed = full();
    let built = bed.sleeper().at(600, |world| {
        world.create(9, "new", GuestType::Pvh, mib(0), mib(8192), 0).outstanding_kib = mib(8000);
    });
    let (report, _) = run_on(&bed.host(), &request(1024, &["b", "c"]), &built);
    assert!(matches!(report.end, ReclaimEnd::FellShort), "{report:?}");
    assert!(bed.size(2) >= mib(512) && bed.size(3) >= mib(512));
}

#[test]
fn a_guest_paused_meanwhile_gives_no_more() {
    let bed = full();
    let paused = bed.sleeper().at(600, |world| {
        world.domains.get_mut(&3).unwrap().paused = true;
    });
    let (report, _) = run_on(&bed.host(), &request(1400, &["b", "c"]), &paused);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert!(bed.held(3) > mib(3000), "{report:?}");
}

#[test]
fn a_guest_that_goes_away_gives_all_its_memory() {
    let bed = full();
    let destroyed = bed.sleeper().at(600, |world| world.destroy(2));
    let (report, _) = run_on(&bed.host(), &request(2500, &["b", "c"]), &destroyed);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert_eq!(report.donors[0].held, mib(0));
    assert_eq!(report.donors[0].exclusion, Some(Exclusion::Gone));
}

/// After the plan, another program lowers the target further.
#[test]
fn a_guest_is_never_grown() {
    let bed = full();
    let host = bed.host();
    let request = request(512, &["c"]);
    let plan = plan_reclaim(&host, &request).unwrap();
    bed.edit(|world| {
        world.write("/local/domain/3/memory/target", &mib(2048).0.to_string());
        world.domains.get_mut(&3).unwrap().limit_kib = mib(2049);
    });
    let report = reclaim(&host, plan, &request, &bed.sleeper(), &mut |_| {});
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert_eq!((bed.size(3), bed.limit(3)), (mib(2048), mib(2049)));
}

#[test]
fn two_concurrent_reclaims_take_the_same_memory_once() {
    let bed = full();
    bed.edit(|world| {
        for domain in world.domains.values_mut() {
            domain.rate_kib_per_second = Kib(mib(8192).0);
        }
    });
    let one = || {
        let request =
            ReclaimRequest { patience: Duration::from_secs(5), ..request(2048, &["a", "b", "c"]) };
        run_on(&bed.host(), &request, &Ticking(&bed)).0
    };
    thread::scope(|scope| {
        let others: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        for report in others.into_iter().map(|other| other.join().unwrap()).chain([one()]) {
            assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
        }
    });
    assert!(bed.available() >= mib(2048));
    // On a busy machine, a reclaim in the middle of its changes can pass for one that has finished.
    assert!(bed.available() <= mib(2048 + 1303), "{}", bed.available());
    for domid in 1..=3 {
        assert!(bed.size(domid) >= mib(512));
        assert_eq!(bed.limit(domid), Kib(bed.size(domid).0 + 1024));
    }
}

/// It plans when the other reclaim has changed `a` but not yet `b` and `c`.
#[test]
fn a_reclaim_during_another_lets_it_finish() {
    let bed = full();
    let ask = |world: &mut World, domid: u16, size: u64| {
        world.write(&format!("/local/domain/{domid}/memory/target"), &mib(size).0.to_string());
        world.domains.get_mut(&domid).unwrap().limit_kib = mib(size + 1);
    };
    bed.edit(|world| ask(world, 1, 837));
    let other = bed.sleeper().at(50, move |world| ask(world, 2, 1490)).at(150, move |world| {
        ask(world, 3, 2793);
    });
    let (report, events) = run_on(&bed.host(), &request(2048, &["a", "b", "c"]), &other);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    let changed = |event: &ReclaimEvent| matches!(event, ReclaimEvent::Changed(_, it) if it.status == ChangeStatus::Changed);
    assert!(!events.iter().any(changed), "{events:?}");
}

/// The clocks of the testbed and of the machine move together.
struct Ticking<'b>(&'b Bed);

impl Interrupt for Ticking<'_> {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, time: Duration) -> bool {
        thread::sleep(time.min(Duration::from_millis(100)));
        self.0.sleeper().sleep(time)
    }
}

#[test]
fn a_guest_that_need_not_give_anything_is_left_alone() {
    let bed = full();
    let host = bed.observed(|call: &Call<'_>| match call {
        Call::SetLimit(domid, _) if domid.get() != 2 => panic!("{call}"),
        _ => Verdict::Proceed,
    });
    let request = ReclaimRequest { priority: Priority::Order, ..request(1000, &["b", "c"]) };
    let (report, _) = run_on(&host, &request, &bed.sleeper());
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
}

#[test]
fn from_all_takes_from_every_running_guest_and_never_from_dom0() {
    let bed = full();
    let request = ReclaimRequest { from: DonorSelection::All, ..request(2816, &[]) };
    let (report, _) = run(&bed, &request);
    assert!(matches!(report.end, ReclaimEnd::Reached), "{report:?}");
    assert_eq!(
        (bed.size(0), bed.size(1), bed.size(2), bed.size(3)),
        (mib(2048), mib(768), mib(1280), mib(2304))
    );
    assert_ne!(DonorSelection::All, named(&[]));
}
