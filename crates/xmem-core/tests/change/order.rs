//! The order of the steps, and what holds during each.

use std::fs::File;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use xen::Kib;
use xmem_core::change::ChangeStatus;
use xmem_core::failure::Cause;
use xmem_core::plan::Note;
use xmem_sim::Verdict;

use crate::scene::{Scene, Step, WEB, max, request, set};

#[test]
fn a_set_makes_its_calls_in_order() {
    let scene = Scene::new();
    let host = scene.calm();
    host.change(&request(set("512M"))).unwrap();
    let memory = |node: &str| format!("/local/domain/7/memory/{node}");
    let nodes = ["target", "static-max", "videoram", "dynamic-max", "hotplug-max"].map(memory);
    let mut read = vec!["/local/domain/7/name".to_owned()];
    read.extend(nodes);
    read.push("/local/domain/7/target".to_owned());
    assert_eq!(
        host.steps(),
        [
            Step::Connect,
            Step::Domain,
            Step::Domain,
            Step::Begin,
            Step::Read(read),
            Step::Pod,
            Step::Write(vec![memory("target"), format!("/vm/{WEB}/memory")]),
            Step::SetLimit(525_312),
            Step::SetPod(525_312),
            Step::Commit,
        ]
    );
}

/// Four requests between lock and commit, and four hypercalls in all; a fifth if the guest shrinks, which could still be
/// populating.
#[test]
fn an_ordinary_set_is_four_hypercalls_and_four_requests() {
    for (size, pod) in [("512M", 1), ("1040M", 0)] {
        let scene = Scene::new();
        let host = scene.calm();
        host.change(&request(set(size))).unwrap();
        assert_eq!(host.count(|step| !step.is_hypercall() && *step != Step::Connect), 4);
        assert_eq!(host.count(|step| *step == Step::Pod), pod);
        let memory = host.count(|step| *step == Step::HostMemory);
        assert_eq!(host.count(Step::is_hypercall), 4 + pod + memory);
    }
}

/// The reads are part of the transaction: otherwise another program's change would go unnoticed.
#[test]
fn every_step_after_the_lock_holds_it() {
    for memory in [set("512M"), set("1536M"), max("4G")] {
        let scene = Scene::new();
        let (lock, record) = (scene.lock(), scene.record());
        let mut looks = 0;
        let hook = move |step: &Step| {
            looks += usize::from(*step == Step::Domain);
            if looks > 1 {
                let file = File::open(&lock).expect("a lock file");
                let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
                assert!(taken.is_err(), "nobody holds the lock at {step:?}");
            }
            // From the first effect that outlives the process until the end.
            if matches!(step, Step::SetLimit(_) | Step::SetPod(_) | Step::Commit) {
                assert!(record.exists(), "no record at {step:?}");
                assert!(looks > 1);
            }
            Verdict::Proceed
        };
        scene.change(memory, hook).unwrap();
        assert_eq!(scene.files().len(), 0);
    }
}

#[test]
fn the_hosts_memory_is_read_only_if_the_domain_grows() {
    for (memory, asked) in [
        (set("512M"), 0),
        (set("1G"), 0),
        (set("1025M"), 0),
        (set("1026M"), 1),
        (set("1536M"), 1),
        (max("1G"), 0),
        (max("4G"), 1),
    ] {
        let scene = Scene::new();
        let host = scene.calm();
        host.change(&request(memory)).unwrap();
        assert_eq!(host.count(|step| *step == Step::HostMemory), asked, "{memory:?}");
    }
}

#[test]
fn a_host_short_of_memory_is_noted() {
    for (spare_kib, claimed_kib, available) in [
        (1_048_576, 0, None),
        (524_284, 0, Some(524_284)),
        (600_000, 100_000, Some(500_000)),
        (0, 4, Some(0)),
    ] {
        let scene = Scene::new();
        scene.world.edit(|world| {
            let other = world.create(8, "other", xmem_sim::GuestType::Pv, Kib(0), Kib(4), 0);
            other.current_kib = Kib((16 << 20) - 1_048_576 - spare_kib);
        });
        scene.world.web(|web| web.outstanding_kib = Kib(claimed_kib));
        let outcome = scene.plain(set("1536M")).unwrap();
        let note = available.map(Kib).map(|available| Note::HostShort {
            needs: Kib(524_288),
            available,
            keep_free: Kib(0),
            granted: Kib(0),
        });
        assert_eq!(outcome.plan.notes, Vec::from_iter(note));
        assert_eq!(scene.numbers(), (1_572_864, 2_097_152, 1_573_888));
    }
}

#[test]
fn a_needless_change_and_a_dry_run_write_nothing() {
    let scene = Scene::new();
    let mut dry = request(set("512M"));
    dry.dry_run = true;
    for (request, status) in
        [(dry, ChangeStatus::DryRun), (request(set("1G")), ChangeStatus::Unchanged)]
    {
        let record = scene.record();
        let host = scene.host(move |step| {
            assert!(!step.is_change() && !record.exists(), "{step:?}");
            Verdict::Proceed
        });
        assert_eq!(host.change(&request).unwrap().status, status);
        assert_eq!(scene.files().len(), 0);
    }
}

#[test]
fn a_dry_run_waits_for_no_lock() {
    let scene = Scene::new();
    let held = File::create(scene.lock()).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut dry = request(set("512M"));
    dry.dry_run = true;
    dry.lock_timeout = Duration::ZERO;
    assert_eq!(scene.calm().change(&dry).unwrap().status, ChangeStatus::DryRun);
    dry.dry_run = false;
    let failure = scene.calm().change(&dry).unwrap_err();
    assert!(matches!(failure.cause, Cause::Lock(_)), "{failure}");
}

/// As in libxl: any other writer of the target then conflicts at the commit.
#[test]
fn a_new_limit_is_set_only_with_a_write_of_the_target() {
    let scene = Scene::new();
    scene.world.set_limit(4096);
    let host = scene.calm();
    host.change(&request(set("1G"))).unwrap();
    let target = "/local/domain/7/memory/target".to_owned();
    assert_eq!(host.count(|step| matches!(step, Step::Write(paths) if paths.contains(&target))), 1);
}
