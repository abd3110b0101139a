//! Balloon drivers that have stalled, and are nudged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use xen::lock::Lock;
use xen::{DomId, Identity, Kib, NoInterrupt};
use xmem_core::wait::{WaitEnd, WaitPolicy};

use crate::scene::{POLICY, Scene};

const TARGET: &str = "/local/domain/7/memory/target";

/// `web` has half its target, and its driver has stalled.
fn asleep() -> Scene {
    let scene = Scene::new();
    scene.edit(7, |web| (web.balloon, web.current_kib) = (false, Kib::from_mib(512)));
    scene
}

#[test]
fn a_stalled_driver_is_nudged_once_and_its_target_restored() {
    let scene = asleep();
    let waited = scene.wait(&scene.set(7, "1G"), POLICY);
    assert_eq!(waited.nudged, [(Duration::from_millis(1500), 2)]);
    assert!(waited.report.nudged && matches!(waited.report.end, WaitEnd::Stuck));
    assert_eq!(scene.world().read(TARGET), Some("1048576"));
    assert_eq!(scene.world().domains[&7].limit_kib, Kib::from_mib(1025));
    assert_eq!(std::fs::read_dir(scene.state_dir()).unwrap().count(), 0);
}

#[test]
fn the_driver_sees_another_target_for_half_a_second() {
    let scene = asleep();
    let outcome = scene.set(7, "1G");
    let seen = Mutex::new(Vec::new());
    scene.wait_for(&outcome, POLICY, |now| {
        let target = scene.world().read(TARGET).map(str::to_owned);
        seen.lock().unwrap().push((now, target));
        false
    });
    let away: Vec<Duration> = seen
        .into_inner()
        .unwrap()
        .into_iter()
        .filter(|(_, target)| target.as_deref() != Some("1048576"))
        .map(|(now, _)| now)
        .collect();
    assert_eq!(away, [Duration::from_millis(1500)], "at the end of one sleep");
}

#[test]
fn a_guest_that_makes_progress_is_not_nudged() {
    let scene = Scene::new();
    scene.edit(7, |web| {
        (web.current_kib, web.rate_kib_per_second) = (Kib::from_mib(512), Kib::from_mib(8));
    });
    let waited = scene.wait(&scene.set(7, "1G"), POLICY);
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
    assert!(waited.nudged.is_empty() && !waited.report.nudged);
}

#[test]
fn a_guest_with_a_new_target_or_that_cannot_run_is_not_nudged() {
    let scene = asleep();
    let waited = scene.wait(&scene.set(7, "768M"), POLICY);
    assert!(waited.nudged.is_empty() && !waited.report.nudged);

    let scene = asleep();
    let outcome = scene.set(7, "1G");
    scene.edit(7, |web| web.paused = true);
    let waited = scene.wait(&outcome, POLICY);
    assert!(waited.nudged.is_empty() && !waited.report.nudged);
}

#[test]
fn all_stalled_guests_are_nudged_together() {
    let scene = Scene::new();
    for (domid, mib) in [(7, 512), (8, 1024), (9, 1024)] {
        scene.edit(domid, |it| (it.balloon, it.current_kib) = (false, Kib::from_mib(mib)));
    }
    let outcomes = [scene.set(7, "1G"), scene.set(8, "2G"), scene.set(9, "2G")];
    let waited = scene.wait_for_all(&scene.host(), &outcomes.each_ref(), POLICY, |_| false);
    for it in waited {
        assert_eq!(it.nudged, [(Duration::from_millis(1500), 2)]);
    }
}

#[test]
fn a_time_bound_too_short_for_a_nudge_prevents_it() {
    let scene = asleep();
    let bound = WaitPolicy { at_most: Some(Duration::from_millis(1500)), ..POLICY };
    let waited = scene.wait(&scene.set(7, "1G"), bound);
    assert!(waited.nudged.is_empty());
    assert_eq!(waited.report.took, Duration::from_millis(1500));
}

#[test]
fn a_locked_domain_is_waited_for_without_a_nudge() {
    let scene = asleep();
    let outcome = scene.set(7, "1G");
    let identity = Identity { domid: DomId::new(7).unwrap(), uuid: scene.world().domains[&7].uuid };
    let lock = Lock::take(scene.state_dir(), identity, Duration::ZERO, &NoInterrupt).unwrap();
    let policy = WaitPolicy { lock_timeout: Duration::from_millis(10), ..POLICY };
    let waited = scene.wait(&outcome, policy);
    drop(lock);
    assert_eq!((waited.not_nudged.len(), waited.nudged.len()), (1, 0));
    assert!(matches!(waited.report.end, WaitEnd::Stuck), "{:?}", waited.report);
    assert_eq!(scene.world().read(TARGET), Some("1048576"));
}

#[test]
fn a_target_that_cannot_be_restored_ends_the_wait() {
    let scene = asleep();
    let outcome = scene.set(7, "1G");
    let held: Arc<Mutex<Option<Lock>>> = Arc::default();
    let identity = Identity { domid: DomId::new(7).unwrap(), uuid: scene.world().domains[&7].uuid };
    let policy = WaitPolicy { lock_timeout: Duration::from_millis(10), ..POLICY };
    let waited = scene.wait_for(&outcome, policy, |_| {
        if scene.world().read(TARGET) != Some("1048576") {
            let lock = Lock::take(scene.state_dir(), identity, Duration::ZERO, &NoInterrupt);
            *held.lock().unwrap() = Some(lock.unwrap());
        }
        false
    });
    let WaitEnd::Failed(failure) = &waited.report.end else { panic!("{:?}", waited.report) };
    assert_eq!(failure.state(), Some("one-page-off"));
}
