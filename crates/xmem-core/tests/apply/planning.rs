//! Plans and dry runs.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use xen::lock::Lock;
use xen::{DomId, Identity, Kib, NoInterrupt};
use xmem_core::apply::{ApplyOptions, Step};
use xmem_core::change::ChangeStatus;
use xmem_core::failure::Cause;
use xmem_core::plan::Note;
use xmem_sim::{Call, Failure, Verdict, World};

use crate::plans::{OPTIONS, plan, refusals};
use crate::testbed::{Bed, mib};

fn domids(steps: &[Step]) -> Vec<u16> {
    steps.iter().map(|step| step.domain.identity.domid.get()).collect()
}

#[test]
fn shrinking_domains_come_first_and_lines_otherwise_keep_their_order() {
    let bed = Bed::new(World::start());
    let steps = plan(
        &bed.host(),
        "web 2G\ndb 1G\nuuid:00000000-0000-4000-8000-000000000009 1024\n",
        &OPTIONS,
    );
    assert_eq!(domids(&steps), [8, 9, 7]);
    assert_eq!(steps.iter().map(|step| step.line).collect::<Vec<_>>(), [2, 3, 1]);
    assert_eq!(steps[1].plan.new.target, Some(mib(1008)));
}

/// Syntax errors do not hide other errors.
#[test]
fn syntax_errors_unknown_domains_duplicates_and_refusals_are_reported_together() {
    let bed = Bed::new(World::start());
    let text = "web 3G\nnosuch 1G\ndb 1.5G\nwin\n8 2G\ndb 1G\n{\"domid\":7}\n";
    let refusals = refusals(&bed.host(), text, &OPTIONS);
    let lines: Vec<&str> = refusals.iter().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["1", "2", "3", "4", "6", "7"], "{refusals:#?}");
    assert!(refusals[0].starts_with("1: web (7): a target of 3072 MiB"), "{refusals:#?}");
    assert!(refusals[1].starts_with("2: there is no domain `nosuch`"), "{refusals:#?}");
    assert!(refusals[4].starts_with("6: db (8): line 5 names the same domain"), "{refusals:#?}");
    assert_eq!(bed.target(8), mib(2048));
}

/// As after a failed jq in a pipe.
#[test]
fn an_empty_batch_is_refused_before_the_host_is_asked() {
    let bed = Bed::new(World::start());
    let host = bed.observed(|call: &Call<'_>| panic!("{call}"));
    for text in ["", "\n# nothing\n", "{\"schema\":2,\"command\":\"list\",\"host\":{}}\n"] {
        assert_eq!(refusals(&host, text, &OPTIONS), ["batch: no domains in the batch"], "{text}");
    }
    assert_eq!(refusals(&host, "web", &OPTIONS), ["1: not of the form `DOMAIN SIZE`"]);
}

#[test]
fn an_unreachable_host_hides_no_syntax_error() {
    let bed = Bed::new(World::start());
    let host = bed.observed(|call: &Call<'_>| match call {
        Call::Connect => Verdict::Fail(Failure::Unreachable),
        _ => Verdict::Proceed,
    });
    let refusals = refusals(&host, "web 1G\ndb\n", &OPTIONS);
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].starts_with("batch: cannot reach the sim's xenstored"), "{refusals:?}");
    assert!(refusals[1].starts_with("2: "), "{refusals:?}");
}

#[test]
fn a_file_that_is_no_batch_gives_a_bounded_number_of_refusals() {
    let bed = Bed::new(World::start());
    assert_eq!(refusals(&bed.host(), &"nosuch 1G\n".repeat(1000), &OPTIONS).len(), 101);
}

/// A host with 100 MiB free.
fn tight() -> Bed {
    let mut world = World::start();
    world.memory_kib = mib(7 * 1024 + 100);
    Bed::new(world)
}

/// With the numbers with which the run itself refuses.
#[test]
fn a_dry_run_foresees_that_the_host_is_short() {
    let bed = tight();
    let host = bed.host();
    let last = |text: &str, options: &ApplyOptions| {
        let steps = plan(&host, text, options);
        steps.last().unwrap().preview(&bed.host())
    };
    let short = |text: &str, options: &ApplyOptions| match last(text, options).unwrap_err().cause {
        Cause::NoMemory { needs, free, keep_free, .. } if needs == mib(1024) => {
            (free.mib(), keep_free.mib())
        }
        cause => panic!("{cause:?}"),
    };
    assert_eq!(short("web 2G", &OPTIONS), (100, 0));
    // Memory promised to the first domain is not available to the second.
    assert_eq!(short("web 1064M\ndb 3G", &OPTIONS), (60, 0));
    // Memory that the others give back is available.
    assert_eq!(short("web 2G\ndb 1536M", &OPTIONS), (612, 0));
    let preview = last("web 2G\ndb 1G", &OPTIONS).unwrap();
    assert_eq!(preview.status, ChangeStatus::DryRun);
    assert_eq!(preview.plan.notes, [Note::LeavesLittle { free: mib(100), granted: mib(0) }]);
    let keep_free = ApplyOptions { keep_free: Some(mib(101)), ..OPTIONS };
    assert_eq!(short("web 2G\ndb 1G", &keep_free), (1023, 101));
    // A paused guest gives nothing back.
    bed.edit(|world| world.domains.get_mut(&8).unwrap().paused = true);
    assert_eq!(short("web 2G\ndb 1G", &OPTIONS), (100, 0));
}

/// The run waits for it.
#[test]
fn a_dry_run_counts_on_what_guests_without_a_line_give_back() {
    let bed = tight();
    bed.edit(|world| world.domains.get_mut(&8).unwrap().rate_kib_per_second = Kib(4));
    bed.edit(|world| world.write("/local/domain/8/memory/target", "1048576"));
    for (size, is_short) in [("2148M", false), ("2152M", true)] {
        let options = ApplyOptions { raise_max: true, ..OPTIONS };
        let steps = plan(&bed.host(), &format!("web {size}"), &options);
        match steps[0].preview(&bed.host()) {
            Ok(outcome) => {
                let is_noted = |note: &Note| matches!(note, Note::HostShort { .. });
                assert!(!is_short && outcome.plan.notes.iter().any(is_noted), "{outcome:?}");
            }
            Err(failure) => assert!(is_short, "{failure}"),
        }
    }
}

#[test]
fn a_dry_run_foresees_the_share_of_each_line_of_a_partial_batch() {
    let bed = tight();
    bed.edit(|world| {
        world.create(10, "c", xmem_sim::GuestType::Pv, mib(0), mib(512), 0);
    });
    let options = ApplyOptions { partial: true, ..OPTIONS };
    let steps = plan(&bed.host(), "web 2G\nc 256M\ndb 1548M", &options);
    let previews: Vec<_> = steps.iter().map(|step| step.preview(&bed.host()).unwrap()).collect();
    assert_eq!(previews[1].plan.size(), mib(1024 + 600));
    let noted = [
        Note::LeavesLittle { free: mib(0), granted: mib(0) },
        Note::Partial { asked: mib(2048), got: mib(1624) },
    ];
    assert_eq!(previews[1].plan.notes, noted);
    assert!(previews[2].plan.changes_nothing());
    assert_eq!(previews[2].plan.notes, [Note::Partial { asked: mib(256), got: mib(0) }]);
    // The real run asks for the full sizes.
    assert_eq!(steps[1].plan.size(), mib(2048));
}

/// One list of domains, one call for the host's memory, one batch of reads.
#[test]
fn planning_costs_no_more_calls_for_many_domains() {
    let calls = |domains: u16| {
        let mut world = World::empty(mib(1 << 20));
        let mut text = String::new();
        for domid in (301..).take(usize::from(domains)) {
            let _ = world.create(
                domid,
                &format!("g{domid}"),
                xmem_sim::GuestType::Pv,
                mib(512),
                mib(1024),
                0,
            );
            writeln!(text, "g{domid} {domid}M").unwrap();
        }
        let bed = Bed::new(world);
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let host = bed.observed(move |_: &Call<'_>| {
            count.fetch_add(1, Ordering::SeqCst);
            Verdict::Proceed
        });
        assert_eq!(plan(&host, &text, &OPTIONS).len(), usize::from(domains));
        calls.load(Ordering::SeqCst)
    };
    assert_eq!(calls(2), calls(200));
}

/// A dry run does not wait for a lock that another process holds.
#[test]
fn planning_takes_no_lock() {
    let bed = Bed::new(World::start());
    let uuid = "00000000-0000-4000-8000-000000000007".parse().unwrap();
    let identity = Identity { domid: DomId::new(7).unwrap(), uuid };
    let _lock = Lock::take(bed.state_dir(), identity, OPTIONS.lock_timeout, &NoInterrupt).unwrap();
    assert_eq!(
        plan(&bed.host(), "web 2G", &OPTIONS)[0].preview(&bed.host()).unwrap().status,
        ChangeStatus::DryRun
    );
    assert_eq!(bed.target(7), mib(1024));
}
