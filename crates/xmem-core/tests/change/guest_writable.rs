//! A guest that may write its own memory nodes, which libxl never allows. Its values never raise its limit beyond a
//! size that somebody else asked for.

use std::time::Duration;

use xen::{DomId, Host as _, Kib, NoInterrupt};
use xmem_core::change::{ChangeStatus, nudge_away, plan_on};
use xmem_core::failure::{Cause, Failure};
use xmem_core::memory::Memory;
use xmem_core::plan::{MemoryRequest, Refusal};
use xmem_sim::Verdict::Proceed;

use crate::scene::{START, Scene, Step, max, request, set};

/// A target of 64 GiB, which only the guest has asked for.
const GREED: &str = "67108864";
/// The largest number of KiB in a signed 32-bit integer.
const VIDEO: &str = "2147483647";

/// A guest that has written these nodes, on a host with more free memory than it can ask for.
fn greedy(nodes: &[(&str, &str)]) -> Scene {
    let scene = Scene::new();
    scene.world.edit(|world| world.memory_kib = Kib(1 << 40));
    for (node, value) in nodes {
        scene.world.write(node, value);
    }
    scene.world.web(|web| web.owns_nodes = true);
    scene
}

fn is_guest_writable(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused(Refusal::GuestWritable { .. }))
}

fn is_refused(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::Refused(_))
}

/// The same nodes, written by dom0, do raise the limit; without this the other tests would prove nothing.
#[test]
fn nodes_that_only_dom0_may_write_are_trusted() {
    let own = |nodes| {
        let scene = greedy(nodes);
        scene.world.web(|web| web.owns_nodes = false);
        scene
    };
    let scene = own(&[("target", GREED), ("static-max", GREED)]);
    scene.plain(MemoryRequest::Repair).unwrap();
    assert_eq!(scene.numbers().2, 67_108_864 + 1024);
    let scene = own(&[("videoram", VIDEO)]);
    scene.plain(set("+4M")).unwrap();
    assert_eq!(scene.numbers().2, 1_048_576 + 4096 + 2_147_483_644 + 1024);
    let scene = own(&[("static-max", GREED)]);
    scene.plain(set("50%")).unwrap();
    assert_eq!(scene.numbers().2, 33_554_432 + 1024);
}

#[test]
fn no_relative_size_share_or_repair_trusts_the_guest() {
    let all: [&[(&str, &str)]; 3] = [
        &[("target", GREED), ("static-max", GREED)],
        &[("videoram", VIDEO)],
        &[("target", GREED), ("static-max", "9223372036854775808"), ("videoram", VIDEO)],
    ];
    for nodes in all {
        for memory in [set("+4M"), set("-4M"), MemoryRequest::Repair] {
            let scene = greedy(nodes);
            let before = scene.numbers();
            let host = scene.calm();
            let failure = host.change(&request(memory)).unwrap_err();
            // The target is above this maximum in itself.
            assert!(is_refused(&failure), "{nodes:?}, {memory:?}: {failure}");
            assert_eq!(host.count(|step| matches!(step, Step::SetLimit(_))), 0);
            assert_eq!(scene.numbers(), before, "{nodes:?}, {memory:?}");
            assert_eq!(scene.files().len(), 0);
        }
    }
    // Relative sizes, shares and video memory of the guest's own maximum.
    for (node, value, memory) in [
        ("static-max", GREED, max("+4M")),
        ("static-max", GREED, max("-4M")),
        ("static-max", GREED, max("max")),
        ("static-max", GREED, max("50%")),
        ("static-max", GREED, set("max")),
        ("static-max", GREED, set("50%")),
        ("videoram", VIDEO, max("2G")),
    ] {
        let scene = greedy(&[(node, value)]);
        let failure = scene.plain(memory).unwrap_err();
        assert!(is_guest_writable(&failure.cause), "{memory:?}: {failure}");
        assert_eq!(scene.numbers().2, START.2);
    }
}

/// `apply` and a dry run of a repair plan without the lock.
#[test]
fn a_plan_without_the_lock_does_not_trust_the_guest() {
    let scene = greedy(&[("target", GREED), ("static-max", GREED)]);
    let host = scene.calm().host;
    let info = host.hypervisor().domain(DomId::new(7).unwrap()).unwrap().unwrap();
    let store = host.connect().unwrap();
    let memory = Memory::read(&*store, info).unwrap();
    for request in [set("-4M"), MemoryRequest::Repair] {
        let cause = plan_on(&host, &*store, &*store, &memory, &request, None).unwrap_err();
        assert!(is_guest_writable(&cause), "{cause}");
    }
}

#[test]
fn absolute_sizes_are_set_as_for_any_guest() {
    for (memory, limit) in [(set("1536M"), 1_573_888), (max("1536M"), 1_573_888)] {
        let scene = greedy(&[("static-max", GREED)]);
        let host = scene.calm();
        assert_eq!(host.change(&request(memory)).unwrap().status, ChangeStatus::Changed);
        assert_eq!(scene.numbers().2, limit);
        assert_eq!(host.count(|step| *step == Step::Permissions), 0);
    }
    let scene = greedy(&[("target", GREED)]);
    scene.plain(set("512M")).unwrap();
    assert_eq!(scene.numbers(), (524_288, START.1, 525_312));
}

#[test]
fn relative_sizes_within_the_limit_are_set() {
    for (memory, new) in [
        (set("+256M"), (1_310_720, START.1, 1_311_744)),
        (set("-256M"), (786_432, START.1, 787_456)),
    ] {
        let scene = greedy(&[]);
        scene.plain(memory).unwrap();
        assert_eq!(scene.numbers(), new);
    }
}

#[test]
fn a_guest_that_writes_before_each_commit_raises_no_limit() {
    let scene = greedy(&[]);
    let world = scene.world.clone();
    let host = scene.host(move |step| {
        if *step == Step::Commit {
            world.write("target", GREED);
            world.write("static-max", GREED);
        }
        Proceed
    });
    let failure = host.change(&request(set("512M"))).unwrap_err();
    assert!(matches!(failure.cause, Cause::Conflicts { .. }), "{failure}");
    assert_eq!(scene.numbers().2, START.2);
    assert_eq!(scene.files().len(), 0);
}

/// The limit is one that an admin asked for, never one derived from the guest's target.
#[test]
fn a_recovery_does_not_trust_the_guest() {
    let scene = greedy(&[]);
    drop(scene.stuck(set("1536M")));
    scene.world.write("target", GREED);
    scene.world.write("static-max", GREED);
    let failure = scene.plain(MemoryRequest::Repair).unwrap_err();
    assert!(is_guest_writable(&failure.cause), "{failure}");
    assert_eq!(scene.numbers().2, 1_573_888);
    assert_eq!(scene.files().len(), 0);
}

#[test]
fn a_nudge_raises_no_limit() {
    let scene = greedy(&[]);
    scene.world.web(|web| web.current_kib = Kib(500_000));
    let outcome = scene.plain(set("1G")).unwrap();
    scene.world.write("videoram", VIDEO);
    let host = scene.calm().host;
    let away = nudge_away(&host, &outcome, Duration::from_mins(1), &NoInterrupt).unwrap();
    assert!(away.is_none());
    assert_eq!(scene.numbers(), START);
}
