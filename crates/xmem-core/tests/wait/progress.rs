//! Guests that make progress.

use std::time::Duration;

use xen::Kib;
use xmem_core::state::State;
use xmem_core::wait::{Progress, WaitEnd, WaitPolicy, WaitReason};

use crate::scene::{POLICY, Scene};

fn rate(scene: &Scene, mib_per_second: u64) {
    scene.edit(7, |web| web.rate_kib_per_second = Kib::from_mib(mib_per_second));
}

/// Without a time bound: 512 MiB at 1 MiB/s take far longer than the patience of 30 s.
#[test]
fn a_guest_that_makes_progress_is_waited_for_to_the_end() {
    let scene = Scene::new();
    rate(&scene, 1);
    let waited = scene.wait(&scene.set(7, "512M"), POLICY);
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
    assert!((510..=513).contains(&waited.report.took.as_secs()), "{:?}", waited.report);
    assert_eq!(waited.report.reasons, []);
    let first = Progress {
        at: Duration::ZERO,
        state: State::Running,
        from: Kib::from_mib(1024),
        current: Kib::from_mib(1024),
        wanted: Kib::from_mib(512),
    };
    assert_eq!(waited.progress[0], first);
    // Once a second in a long wait.
    assert!((500..560).contains(&waited.progress.len()), "{}", waited.progress.len());
    assert!(waited.progress.is_sorted_by(|a, b| a.at < b.at && a.current >= b.current));
}

#[test]
fn a_guest_that_is_at_its_target_is_not_waited_for() {
    let scene = Scene::new();
    let waited = scene.wait_for(&scene.set(7, "1G"), POLICY, |_| panic!("a sleep"));
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
    assert_eq!((waited.report.took, waited.progress.len()), (Duration::ZERO, 0));
}

#[test]
fn video_memory_is_added_to_the_target() {
    let scene = Scene::new();
    let waited = scene.wait(&scene.set(9, "1G"), POLICY);
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
    let target = Kib::from_mib(1024 - 16);
    assert_eq!((waited.report.target, waited.report.wanted), (target, Kib::from_mib(1024)));
}

#[test]
fn within_is_the_distance_that_counts_as_reached() {
    let scene = Scene::new();
    let outcome = scene.set(7, "512M");
    // A guest that stops 16 MiB short.
    scene.edit(7, |web| (web.balloon, web.current_kib) = (false, Kib::from_mib(528)));
    let near = WaitPolicy { within: Kib::from_mib(16), ..POLICY };
    assert!(matches!(scene.wait(&outcome, near).report.end, WaitEnd::Reached));
    assert!(matches!(scene.wait(&outcome, POLICY).report.end, WaitEnd::Stuck));
}

#[test]
fn the_time_bound_ends_the_wait_for_a_guest_that_makes_progress() {
    let scene = Scene::new();
    rate(&scene, 1);
    let bound = WaitPolicy { at_most: Some(Duration::from_secs(10)), ..POLICY };
    let waited = scene.wait(&scene.set(7, "512M"), bound);
    assert!(matches!(waited.report.end, WaitEnd::TimedOut), "{:?}", waited.report);
    assert_eq!(waited.report.took, Duration::from_secs(10));
    assert_eq!((waited.report.moved, &*waited.report.reasons), (true, &[][..]));
    assert_eq!(
        waited.report.to_string(),
        "the target is set, but the guest has 1014 MiB instead of 512 MiB after 10 s"
    );
}

#[test]
fn a_guest_without_progress_is_given_up_after_patience() {
    let scene = Scene::new();
    scene.edit(7, |web| web.balloon = false);
    let waited = scene.wait(&scene.set(7, "512M"), POLICY);
    assert!(matches!(waited.report.end, WaitEnd::Stuck), "{:?}", waited.report);
    assert_eq!((waited.report.moved, waited.report.took), (false, Duration::from_secs(30)));
    assert_eq!(waited.report.reasons, [WaitReason::NoDriver]);
    assert_eq!(
        waited.report.to_string(),
        "the target is set, but the guest has 1024 MiB instead of 512 MiB and has made no progress for 30 s; \
         no balloon driver appears to be running"
    );
}

#[test]
fn each_guest_has_its_own_patience() {
    let scene = Scene::new();
    rate(&scene, 8);
    scene.edit(8, |db| db.balloon = false);
    let (web, db, win) = (scene.set(7, "512M"), scene.set(8, "1G"), scene.set(9, "1G"));
    let waited = scene.wait_for_all(&scene.host(), &[&web, &db, &win], POLICY, |_| false);
    let ends: Vec<_> = waited.iter().map(|it| it.report.end.word()).collect();
    assert_eq!(ends, ["reached", "stuck", "reached"]);
    assert_eq!(waited[1].report.took, Duration::from_secs(30));
    assert!(waited[0].report.took > Duration::from_mins(1));
}

#[test]
fn an_interrupt_ends_the_wait_and_keeps_the_target() {
    let scene = Scene::new();
    rate(&scene, 1);
    let outcome = scene.set(7, "512M");
    let mut sleeps = 0;
    let waited = scene.wait_for(&outcome, POLICY, |_| {
        sleeps += 1;
        sleeps == 3
    });
    assert!(matches!(waited.report.end, WaitEnd::Interrupted), "{:?}", waited.report);
    assert!(
        waited
            .report
            .to_string()
            .starts_with("interrupted; the target stays set, and the guest has 102"),
        "{}",
        waited.report
    );
    assert_eq!(scene.world().read("/local/domain/7/memory/target"), Some("524288"));
}
