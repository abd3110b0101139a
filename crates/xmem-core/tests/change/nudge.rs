//! Nudging a stalled balloon driver: two changes, which leave target and limit as they were.

use std::time::Duration;

use rustix::io::Errno;
use xen::hypervisor::UNLIMITED;
use xen::lock::{Lock, LockState};
use xen::{Host as _, Interrupt as _, Kib, NoInterrupt, Uuid};
use xmem_core::change::{Away, ChangeStatus, Outcome, nudge_away, nudge_back};
use xmem_core::failure::{Aftermath, Cause, Failure};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed};

use crate::interrupts::Raised;
use crate::scene::{START, Scene, Step, Watched, answers, nth, set};

const TIMEOUT: Duration = Duration::from_mins(1);
/// One page off, for a guest that has to grow.
const AWAY: u64 = 1_048_572;

/// A guest with `current` memory and a target of 1 GiB.
fn asleep(current: u64) -> (Scene, Outcome) {
    let scene = Scene::new();
    scene.world.web(|web| web.current_kib = Kib(current));
    let outcome = scene.plain(set("1G")).unwrap();
    assert_eq!(outcome.status, ChangeStatus::Unchanged);
    (scene, outcome)
}

fn away(host: &Watched, outcome: &Outcome) -> Result<Option<Away>, Failure> {
    nudge_away(&host.host, outcome, TIMEOUT, &NoInterrupt)
}

fn back(host: &Watched, away: &Away) -> Result<Option<Outcome>, Failure> {
    nudge_back(&host.host, away, TIMEOUT, &NoInterrupt)
}

/// The targets set by the nudge and by the way back.
fn targets(scene: &Scene, outcome: &Outcome) -> Vec<u64> {
    let host = scene.calm();
    let Some(there) = away(&host, outcome).unwrap() else { return Vec::new() };
    let seen = scene.numbers().0;
    assert!(back(&host, &there).unwrap().is_some());
    vec![seen, scene.numbers().0]
}

#[test]
fn a_nudge_moves_the_target_by_one_page_and_back() {
    for (current, off) in [(2_000_000, 1_048_580), (500_000, AWAY)] {
        let (scene, outcome) = asleep(current);
        let host = scene.calm();
        let there = away(&host, &outcome).unwrap().unwrap();
        assert_eq!(scene.numbers(), (off, 2_097_152, START.2.max(off + 1024)));
        // The lock is free while the guest reads its target.
        assert_eq!(scene.files().len(), 0);
        let again = back(&host, &there).unwrap().unwrap();
        assert_eq!((again.status, again.domain), (ChangeStatus::Changed, outcome.domain));
        assert_eq!(scene.numbers(), START);
        assert_eq!(scene.files().len(), 0);
    }
}

/// As after `max`, and as that of a dom0 without a limit. The second is too low by the page.
#[test]
fn a_nudge_keeps_the_limit() {
    for limit in [2_098_176, 1_049_600, UNLIMITED.0] {
        for current in [2_000_000, 500_000] {
            let scene = Scene::new();
            scene.world.set_limit(limit);
            scene.world.web(|web| web.current_kib = Kib(current));
            let outcome = scene.plain(set("+0")).unwrap();
            let host = scene.calm();
            let there = away(&host, &outcome).unwrap().unwrap();
            let (off, _, now) = scene.numbers();
            assert_eq!(now, limit.max(off + 1024));
            back(&host, &there).unwrap().unwrap();
            assert_eq!(scene.numbers(), (START.0, START.1, limit));
        }
    }
}

#[test]
fn a_limit_that_is_too_low_is_raised_by_a_nudge() {
    for current in [2_000_000, 500_000] {
        let scene = Scene::new();
        scene.world.set_limit(800_000);
        scene.world.web(|web| web.current_kib = Kib(current));
        let outcome = scene.plain(set("+0")).unwrap();
        assert!(!targets(&scene, &outcome).is_empty());
        assert_eq!(scene.numbers(), START);
    }
}

#[test]
fn a_limit_set_by_another_program_during_a_nudge_is_kept() {
    let (scene, outcome) = asleep(2_000_000);
    let host = scene.calm();
    let there = away(&host, &outcome).unwrap().unwrap();
    scene.world.set_limit(5_242_880);
    back(&host, &there).unwrap().unwrap();
    assert_eq!(scene.numbers(), (START.0, START.1, 5_242_880));
}

#[test]
fn a_nudge_keeps_to_minimum_and_maximum() {
    // A guest that has to shrink from its maximum: down.
    let (scene, outcome) = asleep(2_000_000);
    scene.world.write("static-max", 1_048_576);
    assert_eq!(targets(&scene, &outcome), [AWAY, 1_048_576]);

    // A guest at the minimum that has to grow: up, and back to the minimum.
    let small = |static_max: u64, target: u64| {
        let scene = Scene::new();
        scene.world.web(|web| web.current_kib = Kib(4096));
        scene.world.write("target", target);
        scene.world.write("static-max", static_max);
        scene.world.set_limit(target + 1024);
        let outcome = scene.plain(set(&format!("{target}k"))).unwrap();
        assert_eq!(outcome.status, ChangeStatus::Unchanged);
        let before = scene.numbers();
        let targets = targets(&scene, &outcome);
        assert_eq!(scene.numbers(), before);
        targets
    };
    assert_eq!(small(2_097_152, 32_768), [32_772, 32_768]);
    // A guest that was forced below the minimum can be nudged too.
    assert_eq!(small(2_097_152, 8192), [8196, 8192]);
    // No room in either direction.
    assert_eq!(small(32_768, 32_768), [0; 0]);
}

#[test]
fn another_programs_target_is_left_alone() {
    let (scene, outcome) = asleep(500_000);
    scene.world.write("target", 700_000);
    assert!(away(&scene.calm(), &outcome).unwrap().is_none());
    assert_eq!(scene.numbers().0, 700_000);

    let (scene, outcome) = asleep(500_000);
    let there = away(&scene.calm(), &outcome).unwrap().unwrap();
    scene.world.write("target", 700_000);
    assert!(back(&scene.calm(), &there).unwrap().is_none());
    assert_eq!(scene.numbers().0, 700_000);

    // Between the reads and the commit.
    let (scene, outcome) = asleep(500_000);
    let world = scene.world.clone();
    let host = scene.host(crate::scene::before_commit(move || world.write("target", 700_000)));
    assert!(away(&host, &outcome).unwrap().is_none());
    assert_eq!(scene.numbers(), (700_000, START.1, START.2));
}

#[test]
fn a_new_domain_with_the_same_domid_is_not_nudged() {
    let (scene, outcome) = asleep(500_000);
    let host = scene.calm();
    let there = away(&host, &outcome).unwrap().unwrap();
    scene.world.web(|web| web.uuid = Uuid::from_u128(0xa));
    let before = scene.numbers();
    for failure in [away(&host, &outcome).unwrap_err(), back(&host, &there).unwrap_err()] {
        assert!(matches!(failure.cause, Cause::Gone), "{failure}");
        assert_eq!(failure.aftermath, Aftermath::Unchanged);
        assert_eq!(failure.domain.as_ref(), Some(&outcome.domain));
    }
    assert_eq!(scene.numbers(), before);
}

/// A pending interrupt prevents the nudge; one that comes after it does not prevent the way back.
#[test]
fn an_interrupt_never_leaves_the_target_one_page_off() {
    let (scene, outcome) = asleep(500_000);
    let raised = Raised::default();
    raised.raise();
    let host = scene.calm().host;
    assert!(nudge_away(&host, &outcome, TIMEOUT, &raised).unwrap().is_none());
    assert_eq!(scene.numbers(), START);
    let there = nudge_away(&host, &outcome, TIMEOUT, &NoInterrupt).unwrap().unwrap();
    assert!(raised.pending());
    assert!(nudge_back(&host, &there, TIMEOUT, &raised).unwrap().is_some());
    assert_eq!(scene.numbers(), START);
}

#[test]
fn a_lock_held_on_the_way_back_leaves_the_target_one_page_off() {
    let (scene, outcome) = asleep(500_000);
    let host = scene.calm().host;
    let there = nudge_away(&host, &outcome, TIMEOUT, &NoInterrupt).unwrap().unwrap();
    let identity = outcome.domain.identity;
    let held = Lock::take(host.state_dir(), identity, Duration::ZERO, &NoInterrupt).unwrap();
    let raised = Raised::default();
    raised.raise();
    for failure in [
        nudge_back(&host, &there, Duration::ZERO, &NoInterrupt).unwrap_err(),
        nudge_back(&host, &there, TIMEOUT, &raised).unwrap_err(),
    ] {
        assert_eq!(
            failure.aftermath,
            Aftermath::OnePageOff { target: Kib(AWAY), limit: Kib(START.2) }
        );
        assert_eq!(failure.absolute, Some(Kib(START.0)));
    }
    drop(held);
    assert_eq!(scene.numbers(), (AWAY, START.1, START.2));
    assert_eq!(LockState::of(host.state_dir(), identity).unwrap(), LockState::Unlocked);
    assert!(host.hypervisor().domain(identity.domid).is_ok());
}

/// It says what was left, which is in step.
#[test]
fn a_failure_at_any_step_reports_the_state() {
    let (scene, outcome) = asleep(500_000);
    let there_host = scene.calm();
    let there = away(&there_host, &outcome).unwrap().unwrap();
    let back_host = scene.calm();
    back(&back_host, &there).unwrap().unwrap();
    let error = |step: &Step| {
        if step.is_hypercall() { Error::Errno(Errno::NOMEM) } else { answers("EIO") }
    };
    let is_needed = |step: &&Step| !matches!(step, Step::Pod | Step::HostMemory);
    for (index, step) in there_host.steps().iter().enumerate().filter(|(_, step)| is_needed(step)) {
        // The first call only decides on the direction.
        if index == 0 {
            continue;
        }
        let (scene, outcome) = asleep(500_000);
        let failure = away(&scene.host(nth(index, Fail(error(step)))), &outcome).unwrap_err();
        let is_rolled_back =
            matches!(failure.aftermath, Aftermath::Unchanged | Aftermath::RolledBack { .. });
        assert!(is_rolled_back, "{index} {step:?}: {failure}");
        assert_eq!(failure.absolute, Some(Kib(START.0)));
        assert_eq!((scene.numbers(), scene.files().len()), (START, 0), "{index} {step:?}");
    }
    for (index, step) in back_host.steps().iter().enumerate().filter(|(_, step)| is_needed(step)) {
        let (scene, outcome) = asleep(500_000);
        let there = away(&scene.host(|_| Proceed), &outcome).unwrap().unwrap();
        let failure = back(&scene.host(nth(index, Fail(error(step)))), &there).unwrap_err();
        assert_eq!(
            failure.aftermath,
            Aftermath::OnePageOff { target: Kib(AWAY), limit: Kib(START.2) },
            "{step:?}"
        );
        assert_eq!(failure.absolute, Some(Kib(START.0)));
        assert_eq!(scene.numbers(), (AWAY, START.1, START.2), "{step:?}");
        assert_eq!(scene.files().len(), 0, "{step:?}");
        let words = "; the target is still 1048572 KiB, one page off, as set to nudge the balloon driver; the limit is in step";
        assert!(failure.to_string().ends_with(words), "{failure}");
    }
}
