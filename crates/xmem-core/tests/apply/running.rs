//! Execution of plans.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xen::{Interrupt, Kib};
use xmem_core::apply::{ApplyOptions, apply};
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::failure::{Aftermath, Cause, Failure};
use xmem_core::plan::Note;
use xmem_sim::{Call, SimHost, Verdict, World};

use crate::plans::{OPTIONS, plan};
use crate::testbed::{Bed, Sleeper, mib};

/// Applies `text`: the outcome of each step, in their order.
fn run(
    host: &SimHost,
    text: &str,
    options: &ApplyOptions,
    interrupt: &dyn Interrupt,
) -> Vec<Result<Outcome, Failure>> {
    let steps = plan(host, text, options);
    let mut results = Vec::new();
    apply(host, &steps, options, interrupt, &mut |_, result| results.push(result));
    assert_eq!(results.len(), steps.len());
    results
}

fn is_changed(result: &Result<Outcome, Failure>) -> bool {
    result.as_ref().is_ok_and(|outcome| outcome.status == ChangeStatus::Changed)
}

fn is_no_memory(result: &Result<Outcome, Failure>) -> bool {
    matches!(result, Err(Failure { cause: Cause::NoMemory { .. }, .. }))
}

/// A full host: web has 1 GiB, db 3, c 1, dom0 2.
fn full(db_rate: Kib) -> Bed {
    let mut world = World::start();
    world.destroy(9);
    world.create(8, "db", xmem_sim::GuestType::Pv, mib(3072), mib(4096), 0).rate_kib_per_second =
        db_rate;
    world.create(10, "c", xmem_sim::GuestType::Pv, mib(1024), mib(4096), 0);
    world.memory_kib = mib(7168);
    Bed::new(world)
}

/// No domain is given up on while memory keeps coming.
#[test]
fn each_domain_is_waited_for_while_memory_keeps_coming() {
    let bed = full(mib(100));
    let results = run(&bed.host(), "db 2048M\nweb 1424M\nc 1424M\n", &OPTIONS, &bed.sleeper());
    assert!(results.iter().all(is_changed), "{results:?}");
    // 800 MiB at 100 MiB/s take more than twice the patience.
    assert!((8000..9000).contains(&bed.now()), "{} ms", bed.now());
}

#[test]
fn a_domain_is_given_up_on_after_patience_without_more_memory() {
    let bed = full(mib(100));
    // Gives 200 MiB and no more.
    let stops = bed.sleeper().at(2000, |world| {
        world.domains.get_mut(&8).unwrap().balloon = false;
    });
    let results = run(&bed.host(), "db 2048M\nweb 1424M\nc 1124M\n", &OPTIONS, &stops);
    assert!(is_changed(&results[0]) && is_no_memory(&results[1]), "{results:?}");
    // Too little for the first growing domain is enough for the second.
    assert!(is_changed(&results[2]), "{results:?}");
    assert!((4500..5500).contains(&bed.now()), "{} ms", bed.now());
    let failure = results[1].as_ref().unwrap_err();
    assert_eq!(failure.domain.as_ref().unwrap().to_string(), "web (7)");
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
    let waits = stops.waits();
    assert!(waits[0].starts_with("400 MiB for web (7), "), "{waits:?}");
    assert!(waits.last().unwrap().ends_with(" MiB free"), "{waits:?}");
}

/// Pages come and go between two readings: while a guest grows, it and the host are not read at the same moment.
#[test]
fn some_pages_are_no_progress() {
    struct Jitter<'a>(&'a Bed, Sleeper<'a>);
    impl Interrupt for Jitter<'_> {
        fn pending(&self) -> bool {
            self.1.pending()
        }

        fn sleep(&self, time: Duration) -> bool {
            self.0.edit(|world| world.memory_kib.0 ^= 64);
            self.1.sleep(time)
        }
    }
    let bed = full(mib(100));
    let results = run(
        &bed.host(),
        "web 1424M\n",
        &OPTIONS,
        &Jitter(&bed, bed.sleeper().interrupting_at(10_000)),
    );
    assert!(is_no_memory(&results[0]), "{results:?}");
    assert!((3000..3500).contains(&bed.now()), "{} ms", bed.now());
}

/// Each line that lacked memory was waited for anew.
#[test]
fn patience_that_has_run_out_is_not_spent_again_unless_memory_comes() {
    // The host gets this many MiB after each step.
    for (text, comes, seconds) in [
        ("web 1424M\nc 1424M\ndb 4G\n", 0, 3),
        // A grant in between is no progress, and hides none.
        ("web 1424M\nc 1034M\ndb 4G\n", 0, 3),
        ("web 1424M\nc 1034M\ndb 4G\n", 5, 6),
        ("web 1424M\nc 1424M\ndb 4G\n", 5, 9),
    ] {
        let bed = full(mib(100));
        bed.edit(|world| world.memory_kib = mib(7168 + 100));
        let host = bed.host();
        let steps = plan(&host, text, &OPTIONS);
        let mut starved = Vec::new();
        apply(&host, &steps, &OPTIONS, &bed.sleeper(), &mut |_, result| {
            starved.push(is_no_memory(&result));
            bed.edit(|world| world.memory_kib = Kib(world.memory_kib.0 + mib(comes).0));
        });
        let is_granted = text.contains("c 1034M");
        assert_eq!(starved, [true, !is_granted, true], "{text}");
        let ms = seconds * 1000;
        assert!((ms..ms + 500).contains(&bed.now()), "{text}{comes}: {} ms", bed.now());
    }
}

/// The guests are slow to use the memory that they were given.
#[test]
fn memory_promised_to_one_domain_is_not_given_to_another() {
    let bed = full(mib(100));
    bed.edit(|world| {
        world.memory_kib = mib(7168 + 500);
        world.domains.get_mut(&7).unwrap().balloon = false;
    });
    let results = run(&bed.host(), "web 1424M\nc 1224M\n", &OPTIONS, &bed.sleeper());
    assert!(is_changed(&results[0]) && is_no_memory(&results[1]), "{results:?}");
    let results = run(&bed.host(), "web 1424M\nc 1124M\n", &OPTIONS, &bed.sleeper());
    assert!(is_changed(&results[1]), "{results:?}");
}

#[test]
fn memory_of_a_domain_that_goes_away_is_available_to_the_others() {
    let bed = full(mib(100));
    let destroyed = bed.sleeper().at(1000, |world| world.destroy(8));
    let results = run(&bed.host(), "db 2048M\nweb 2G\nc 3G\n", &OPTIONS, &destroyed);
    assert!(results.iter().all(is_changed), "{results:?}");
}

#[test]
fn memory_claimed_for_a_domain_being_built_is_not_available() {
    let bed = full(mib(100));
    bed.edit(|world| {
        world.memory_kib = mib(7168 + 500);
        world.domains.get_mut(&10).unwrap().outstanding_kib = mib(400);
    });
    let results = run(&bed.host(), "web 1224M\n", &OPTIONS, &bed.sleeper());
    assert!(is_no_memory(&results[0]), "{results:?}");
}

#[test]
fn memory_to_keep_free_is_kept_over_the_whole_batch() {
    let bed = full(mib(100));
    bed.edit(|world| world.memory_kib = mib(7168 + 500));
    let options = ApplyOptions { keep_free: Some(mib(100)), ..OPTIONS };
    let results = run(&bed.host(), "web 1224M\nc 1225M\n", &options, &bed.sleeper());
    assert!(is_changed(&results[0]) && is_no_memory(&results[1]), "{results:?}");
    let bed = full(mib(100));
    bed.edit(|world| world.memory_kib = mib(7168 + 500));
    let results = run(&bed.host(), "web 1224M\nc 1224M\n", &options, &bed.sleeper());
    assert!(results.iter().all(is_changed), "{results:?}");
}

#[test]
fn a_partial_batch_serves_lines_in_order_until_memory_runs_out() {
    let bed = full(mib(100));
    bed.edit(|world| {
        world.memory_kib = mib(7168 + 500);
        world.create(11, "d", xmem_sim::GuestType::Pv, mib(1), mib(4096), 0);
    });
    let options = ApplyOptions { partial: true, ..OPTIONS };
    let text = "web 1324M\nc 2G\nd 2G\n";
    let results = run(&bed.host(), text, &options, &bed.sleeper());
    let outcomes: Vec<&Outcome> = results.iter().map(|result| result.as_ref().unwrap()).collect();
    let status = |index: usize| outcomes[index].status;
    assert_eq!(
        (status(0), status(1), status(2)),
        (ChangeStatus::Changed, ChangeStatus::Changed, ChangeStatus::Unchanged,)
    );
    let partial = |index: usize| {
        outcomes[index].plan.notes.iter().find(|note| matches!(note, Note::Partial { .. })).cloned()
    };
    assert_eq!(partial(0), None);
    assert_eq!(partial(1), Some(Note::Partial { asked: mib(2048), got: mib(1024 + 199) }));
    assert_eq!(partial(2), Some(Note::Partial { asked: mib(2048), got: mib(1) }));
    assert_eq!((bed.size(7), bed.size(10), bed.size(11)), (mib(1324), mib(1223), mib(1)));
    // No domain is ballooning, so there is nothing to wait for.
    assert_eq!(bed.now(), 0);
}

/// It raised a domain's maximum for 1 MiB.
#[test]
fn a_partial_batch_grows_no_domain_by_next_to_nothing() {
    let options = ApplyOptions { partial: true, raise_max: true, ..OPTIONS };
    for (free, size) in [(1536, 1024), (2560, 1026)] {
        let bed = full(mib(100));
        bed.edit(|world| world.memory_kib = Kib(mib(7168).0 + free));
        let got = Note::Partial { asked: mib(4096), got: mib(size) };
        let steps = plan(&bed.host(), "web 4G", &options);
        assert!(steps[0].preview(&bed.host()).unwrap().plan.notes.contains(&got), "{steps:?}");
        let results = run(&bed.host(), "web 4G\n", &options, &bed.sleeper());
        assert!(results[0].as_ref().unwrap().plan.notes.contains(&got), "{results:?}");
        assert_eq!(bed.size(7), mib(size));
    }
}

#[test]
fn a_partial_batch_waits_for_memory_from_its_own_domains() {
    let bed = full(mib(100));
    let options = ApplyOptions { partial: true, ..OPTIONS };
    let results = run(&bed.host(), "db 2572M\nweb 2G\n", &options, &bed.sleeper());
    assert!(results.iter().all(is_changed), "{results:?}");
    assert_eq!(bed.size(7), mib(1524));
}

#[test]
fn one_failure_does_not_stop_the_others() {
    let bed = Bed::new(World::start());
    // Setting the PoD target is refused for `web`, which is PVH; `db` is PV.
    let host = bed.observed(|call: &Call<'_>| match call {
        Call::SetPod(..) => Verdict::Fail(xmem_sim::Failure::Errno(rustix::io::Errno::NOMEM)),
        _ => Verdict::Proceed,
    });
    let results = run(&host, "web 512M\ndb 1G\n", &OPTIONS, &bed.sleeper());
    assert!(results[0].is_err() && is_changed(&results[1]), "{results:?}");
    assert_eq!((bed.size(7), bed.size(8)), (mib(1024), mib(1024)));
}

/// Its hint is not about misspelt names.
#[test]
fn a_domain_that_went_away_after_planning_keeps_its_name_in_the_failure() {
    let bed = Bed::new(World::start());
    let host = bed.host();
    let steps = plan(&host, "web 512M\ndb 1G\n", &OPTIONS);
    bed.edit(|world| world.destroy(7));
    let mut results = Vec::new();
    apply(&host, &steps, &OPTIONS, &bed.sleeper(), &mut |step, result| {
        results.push((step.line, result));
    });
    let (line, Err(failure)) = results.remove(0) else { panic!("{results:?}") };
    assert_eq!((line, failure.domain.unwrap().to_string()), (1, "web (7)".to_owned()));
    assert!(matches!(failure.cause, Cause::Gone), "{:?}", failure.cause);
    assert!(is_changed(&results[0].1));
}

/// Also the line whose commit is unknown, and the next.
#[test]
fn a_lost_connection_names_the_domain_of_each_line() {
    let bed = Bed::new(World::start());
    let is_down = AtomicBool::new(false);
    let host = bed.observed(move |call: &Call<'_>| match call {
        Call::Commit => {
            is_down.store(true, Ordering::SeqCst);
            Verdict::Fail(xmem_sim::Failure::Closed)
        }
        Call::Connect if is_down.load(Ordering::SeqCst) => {
            Verdict::Fail(xmem_sim::Failure::Unreachable)
        }
        _ => Verdict::Proceed,
    });
    let results = run(&host, "web 512M\ndb 1G\n", &OPTIONS, &bed.sleeper());
    for (result, name) in results.iter().zip(["web (7)", "db (8)"]) {
        let failure = result.as_ref().unwrap_err();
        assert_eq!(failure.domain.as_ref().unwrap().to_string(), name);
    }
}

#[test]
fn an_interrupt_ends_the_batch_between_two_changes() {
    let bed = full(mib(100));
    let options = ApplyOptions { patience: Duration::from_hours(1), ..OPTIONS };
    let interrupt = bed.sleeper().interrupting_at(1000);
    let results = run(&bed.host(), "db 2560M\nweb 1524M\nc 1028M\n", &options, &interrupt);
    assert!(is_changed(&results[0]), "{results:?}");
    for (result, name) in results[1..].iter().zip(["web (7)", "c (10)"]) {
        let failure = result.as_ref().unwrap_err();
        assert!(matches!(failure.cause, Cause::Interrupted), "{failure:?}");
        assert_eq!(failure.domain.as_ref().unwrap().to_string(), name);
    }
    assert_eq!(bed.size(7), mib(1024));
}

/// Below what must stay free, too.
#[test]
fn memory_that_becomes_free_is_progress_before_it_is_enough_to_keep() {
    let bed = full(mib(100));
    let options = ApplyOptions { keep_free: Some(mib(500)), ..OPTIONS };
    let results = run(&bed.host(), "db 2048M\nweb 1424M\n", &options, &bed.sleeper());
    assert!(results.iter().all(is_changed), "{results:?}");
    // 900 MiB at 100 MiB/s; the first 500 take longer than the patience.
    assert!((9000..10_000).contains(&bed.now()), "{} ms", bed.now());
}

/// The guest of a later line is still growing to its old target: that memory is not free for an earlier one.
#[test]
fn memory_that_the_guest_of_a_later_line_takes_is_not_given_away() {
    let bed = full(mib(100));
    bed.edit(|world| {
        // 700 MiB are free, of which c takes 500.
        world.memory_kib = mib(7168 + 700 - 500);
        let c = world.domains.get_mut(&10).unwrap();
        c.current_kib = mib(524);
    });
    let options = ApplyOptions { keep_free: Some(mib(100)), ..OPTIONS };
    let text = "web 1424M\nc 1124M\n";
    let steps = plan(&bed.host(), text, &options);
    assert!(steps[0].preview(&bed.host()).is_err());
    let results = run(&bed.host(), text, &options, &bed.sleeper());
    assert!(is_no_memory(&results[0]), "{results:?}");
}
