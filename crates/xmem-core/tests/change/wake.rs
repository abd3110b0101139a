//! Waking a guest whose target stands and that does nothing: two changes that leave everything as it was.

use std::time::Duration;

use rustix::io::Errno;
use xen::lock::{Lock, LockState};
use xen::{Host as _, Interrupt, Kib, NoInterrupt, Uuid};
use xmem_core::change::{Away, ChangeStatus, Outcome, wake_away, wake_back};
use xmem_core::failure::{Aftermath, Cause, Failure};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed};

use crate::interrupts::Raised;
use crate::scene::{START, Scene, Step, Watched, answers, nth, set};

const TIMEOUT: Duration = Duration::from_secs(60);
/// One page off, for a guest that is to grow.
const AWAY: u64 = 1_048_572;

/// A guest that holds `current`, and whose target is 1 GiB already.
fn asleep(current: u64) -> (Scene, Outcome) {
    let scene = Scene::new();
    scene.world.web(|web| web.current_kib = Kib(current));
    let outcome = scene.plain(set("1G")).unwrap();
    assert_eq!(outcome.status, ChangeStatus::Unchanged);
    (scene, outcome)
}

fn away(host: &Watched, outcome: &Outcome) -> Result<Option<Away>, Failure> {
    wake_away(&host.host, outcome, TIMEOUT, &NoInterrupt)
}

fn back(host: &Watched, away: &Away) -> Result<Option<Outcome>, Failure> {
    wake_back(&host.host, away, TIMEOUT, &NoInterrupt)
}

/// The targets that are set on the way there and back.
fn targets(scene: &Scene, outcome: &Outcome) -> Vec<u64> {
    let host = scene.calm();
    let Some(there) = away(&host, outcome).unwrap() else { return Vec::new() };
    let seen = scene.numbers().0;
    assert!(back(&host, &there).unwrap().is_some());
    vec![seen, scene.numbers().0]
}

#[test]
fn the_target_moves_one_page_off_and_back_with_its_limit() {
    for (current, off) in [(2_000_000, 1_048_580), (500_000, AWAY)] {
        let (scene, outcome) = asleep(current);
        let host = scene.calm();
        let there = away(&host, &outcome).unwrap().unwrap();
        assert_eq!(scene.numbers(), (off, 2_097_152, off + 1024));
        // Nobody waits for the lock while the guest looks at its target.
        assert_eq!(scene.files().len(), 0);
        let again = back(&host, &there).unwrap().unwrap();
        assert_eq!((again.status, again.domain), (ChangeStatus::Changed, outcome.domain));
        assert_eq!(scene.numbers(), START);
        assert_eq!(scene.files().len(), 0);
    }
}

#[test]
fn waking_keeps_to_the_minimum_and_the_maximum() {
    // A guest that is to shrink, with no room above: down, then.
    let (scene, outcome) = asleep(2_000_000);
    scene.world.write("static-max", 1_048_576);
    assert_eq!(targets(&scene, &outcome), [AWAY, 1_048_576]);

    // One at the minimum that is to grow: up, and back down to the minimum.
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
    // One that was forced below it can be woken as well.
    assert_eq!(small(2_097_152, 8192), [8196, 8192]);
    // No way at all.
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
fn another_domain_with_the_same_domid_is_not_woken() {
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

/// One that is pending before: nothing is touched. One that comes in between: back all the same.
#[test]
fn an_interrupt_prevents_the_way_there_and_not_the_way_back() {
    let (scene, outcome) = asleep(500_000);
    let raised = Raised::default();
    raised.raise();
    let host = scene.calm().host;
    assert!(wake_away(&host, &outcome, TIMEOUT, &raised).unwrap().is_none());
    assert_eq!(scene.numbers(), START);
    let there = wake_away(&host, &outcome, TIMEOUT, &NoInterrupt).unwrap().unwrap();
    assert!(raised.pending());
    assert!(wake_back(&host, &there, TIMEOUT, &raised).unwrap().is_some());
    assert_eq!(scene.numbers(), START);
}

#[test]
fn a_lock_that_stays_held_on_the_way_back_leaves_the_target_one_page_off() {
    let (scene, outcome) = asleep(500_000);
    let host = scene.calm().host;
    let there = wake_away(&host, &outcome, TIMEOUT, &NoInterrupt).unwrap().unwrap();
    let identity = outcome.domain.identity;
    let held = Lock::take(host.state_dir(), identity, Duration::ZERO, &NoInterrupt).unwrap();
    let raised = Raised::default();
    raised.raise();
    for failure in [
        wake_back(&host, &there, Duration::ZERO, &NoInterrupt).unwrap_err(),
        wake_back(&host, &there, TIMEOUT, &raised).unwrap_err(),
    ] {
        assert_eq!(failure.aftermath, Aftermath::OnePageOff { target: Kib(AWAY) });
        assert_eq!(failure.absolute, Some(Kib(START.0)));
    }
    drop(held);
    assert_eq!(scene.numbers(), (AWAY, START.1, AWAY + 1024));
    assert_eq!(LockState::of(host.state_dir(), identity).unwrap(), LockState::Unlocked);
    assert!(host.hypervisor().domain(identity.domid).is_ok());
}

/// Whatever fails, at whatever step, the failure says what is left, and that is in step.
#[test]
fn a_failure_at_any_step_leaves_what_it_says() {
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
        // The first look only decides on the direction.
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
        assert_eq!(failure.aftermath, Aftermath::OnePageOff { target: Kib(AWAY) }, "{step:?}");
        assert_eq!(failure.absolute, Some(Kib(START.0)));
        assert_eq!(scene.numbers(), (AWAY, 2_097_152, AWAY + 1024), "{step:?}");
        assert_eq!(scene.files().len(), 0, "{step:?}");
        let words = "; the target is still 1048572 KiB, one page off, where it was set to wake the guest's driver; the limit is in step";
        assert!(failure.to_string().ends_with(words), "{failure}");
    }
}
