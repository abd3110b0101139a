//! A guest that may write its own memory nodes, as libxl never lets it: what it says there never raises its
//! limit beyond what somebody else has asked for.

use std::path::Path;
use std::time::Duration;

use xmem::apply::{Options, survey};
use xmem::batch;
use xmem::change::{End, nudge};
use xmem::check::{Fate, check, foresee, repair};
use xmem::error::{Cause, Exit, Failure};
use xmem::host::Host as _;
use xmem::plan::{Refusal, Wish};
use xmem::signals::Signals;
use xmem::size::Kib;
use xmem::xenstore::Xs as _;

use crate::watched::{START, Scene, Step, Then, Watched, max, request, set, sim};

/// 64 GiB, of which nobody has ever heard.
const GREED: &str = "67108864";
/// As much as a signed 32-bit number of KiB can be.
const VIDEO: &str = "2147483647";

fn write(dir: &Path, node: &str, value: &str) {
    sim(dir).connect().unwrap().write(&format!("/local/domain/7/memory/{node}"), value).unwrap();
}

/// A guest that has written so.
fn greedy(nodes: &[(&str, &str)]) -> (Scene, Watched) {
    let scene = Scene::new();
    for (node, value) in nodes {
        write(scene.path(), node, value);
    }
    let host = scene.host(|_| Then::Go).guest_writes();
    (scene, host)
}

fn is_its_word(failure: &Failure) -> bool {
    failure.exit() == Exit::Refused
        && matches!(failure.cause, Cause::Refused(Refusal::GuestsWord { .. }))
}

/// What it would be if xmem took its word: otherwise these tests would test nothing.
#[test]
fn an_owner_that_is_not_the_guest_is_believed() {
    let (scene, _) = greedy(&[("target", GREED), ("static-max", GREED)]);
    scene.plain(&Wish::Mend).unwrap();
    assert_eq!(scene.numbers().2, 67_108_864 + 1024);
    let (scene, _) = greedy(&[("videoram", VIDEO)]);
    scene.plain(&set("+4M")).unwrap();
    assert_eq!(scene.numbers().2, 1_048_576 + 4096 + 2_147_483_644 + 1024);
}

#[test]
fn no_step_and_no_repair_starts_from_its_word() {
    let all: [&[(&str, &str)]; 3] = [
        &[("target", GREED), ("static-max", GREED)],
        &[("videoram", VIDEO)],
        &[("target", GREED), ("static-max", "9223372036854775808"), ("videoram", VIDEO)],
    ];
    for nodes in all {
        for wish in [set("+4M"), set("-4M"), Wish::Mend] {
            let (scene, host) = greedy(nodes);
            let before = scene.numbers();
            let failure = host.change(&request(&wish)).unwrap_err();
            // With such a maximum there may be no such limit at all.
            assert_eq!(failure.exit(), Exit::Refused, "{nodes:?}, {wish:?}: {failure}");
            assert!(!host.steps().iter().any(|step| matches!(step, Step::SetLimit(_))));
            assert_eq!(scene.numbers(), before, "{nodes:?}, {wish:?}");
            assert_eq!(scene.state().len(), 0);
        }
    }
    // A maximum that is a step from the guest's own, or that its video memory does not fit into.
    for (node, value, wish) in [
        ("static-max", GREED, max("+4M")),
        ("static-max", GREED, max("-4M")),
        ("videoram", VIDEO, max("2G")),
    ] {
        let (scene, host) = greedy(&[(node, value)]);
        let failure = host.change(&request(&wish)).unwrap_err();
        assert!(is_its_word(&failure), "{wish:?}: {failure}");
        assert_eq!(scene.numbers().2, START.2);
    }
}

/// What would be refused is not offered.
#[test]
fn a_check_offers_no_repair_by_its_word() {
    let (scene, host) = greedy(&[("target", GREED), ("static-max", GREED)]);
    let mends = |host: &Watched| {
        let found = check(host, &[]).unwrap();
        let limit = found.findings.iter().find(|it| it.kind() == "limit-too-low").unwrap().clone();
        assert!(limit.is_out_of_step());
        (limit.is_mendable(), limit.mend().unwrap())
    };
    assert_eq!(mends(&scene.host(|_| Then::Go)), (true, "xmem check --repair 7".to_owned()));
    let (mendable, mend) = mends(&host);
    assert!(!mendable && mend.starts_with("xmem set 7 SIZE"), "{mend}");
    let found = check(&host, &[]).unwrap();
    assert!(foresee(&host, &found).iter().all(|(_, fate)| *fate == Fate::Left));
    let mut signals = Signals::default();
    let repaired = repair(&host, &found, &[], Duration::ZERO, &mut signals).unwrap();
    assert_eq!((repaired.changes.len(), repaired.failures.len()), (0, 0));
}

/// A look ahead, as `apply` takes it first, says so as well.
#[test]
fn a_look_ahead_does_not_take_its_word_either() {
    let (_scene, host) = greedy(&[("target", GREED), ("static-max", GREED)]);
    let lines = batch::parse("web -4M").unwrap();
    let wait = Duration::ZERO;
    let options = Options { raise_max: false, force: false, lock_timeout: wait, patience: wait };
    let objections = survey(&host, &lines, options).unwrap_err();
    assert!(is_its_word(&objections[0].failure), "{}", objections[0].failure);
}

/// Whole sizes are somebody else's word, and are done.
#[test]
fn whole_sizes_are_done_as_ever() {
    for (wish, limit) in [(set("1536M"), 1_573_888), (max("1536M"), 1_573_888)] {
        let (scene, host) = greedy(&[("static-max", GREED)]);
        assert_eq!(host.change(&request(&wish)).unwrap().end, End::Changed);
        assert_eq!(scene.numbers().2, limit);
        assert!(!host.steps().contains(&Step::Permissions), "nothing is asked that need not be");
    }
    let (scene, host) = greedy(&[("target", GREED)]);
    host.change(&request(&set("512M"))).unwrap();
    assert_eq!(scene.numbers(), (524_288, START.1, 525_312));
}

/// Steps inside what the limit allows are done as well.
#[test]
fn a_guest_that_says_the_truth_takes_steps() {
    for (wish, new) in [
        (set("+256M"), (1_310_720, START.1, 1_311_744)),
        (set("-256M"), (786_432, START.1, 787_456)),
    ] {
        let (scene, host) = greedy(&[]);
        host.change(&request(&wish)).unwrap();
        assert_eq!(scene.numbers(), new);
    }
}

/// It writes before each commit. What is put back is the limit that was there.
#[test]
fn a_race_with_it_raises_nothing() {
    let scene = Scene::new();
    let dir = scene.path().to_owned();
    let host = scene.host(move |step| {
        if *step == Step::Commit {
            write(&dir, "target", GREED);
            write(&dir, "static-max", GREED);
        }
        Then::Go
    });
    let host = host.guest_writes();
    let failure = host.change(&request(&set("512M"))).unwrap_err();
    assert_eq!(failure.exit(), Exit::Conflicts);
    assert_eq!(scene.numbers().2, START.2);
    assert_eq!(scene.state().len(), 0);
}

/// After a kill: one of the limits that were asked for, never one for a target of its own.
#[test]
fn what_a_killed_run_left_is_settled_without_its_word() {
    let scene = Scene::new();
    let failure = scene.stuck(&set("1536M"));
    assert_eq!(failure.exit(), Exit::OutOfStep);
    assert!(scene.intent().exists());
    write(scene.path(), "target", GREED);
    write(scene.path(), "static-max", GREED);
    let host = scene.host(|_| Then::Go).guest_writes();
    let failure = host.change(&request(&Wish::Mend)).unwrap_err();
    assert!(is_its_word(&failure), "{failure}");
    assert_eq!(scene.numbers().2, 1_573_888);
    assert_eq!(scene.state().len(), 0);
}

/// The guest makes video memory up while its driver is woken up.
#[test]
fn a_nudge_raises_nothing() {
    let scene = Scene::new();
    scene.edit(|world| world["domains"]["7"]["current_kib"] = 500_000.into());
    let outcome = scene.plain(&set("1G")).unwrap();
    write(scene.path(), "videoram", VIDEO);
    let host = scene.host(|_| Then::Go).guest_writes();
    let wait = Duration::from_secs(60);
    let nudged = nudge(&host, &outcome, wait, &mut Signals::default()).unwrap();
    assert_eq!(nudged.len(), 0);
    assert_eq!(scene.numbers(), START);
    assert_eq!(outcome.plan.limit, Kib(START.2));
}
