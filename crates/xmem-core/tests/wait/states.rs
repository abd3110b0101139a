//! Waits for domains that do not run.

use std::time::Duration;

use xen::Kib;
use xen::hypervisor::Shutdown;
use xmem_core::state::State;
use xmem_core::wait::{WaitEnd, WaitPolicy, WaitReason};

use crate::scene::{POLICY, Scene};

#[test]
fn a_stopped_guest_ends_the_wait_at_once() {
    for (reason, state, text) in [
        (Shutdown::PowerOff, State::ShutDown, "it has shut down"),
        (Shutdown::Crash, State::Crashed, "it has crashed"),
        (Shutdown::Watchdog, State::Crashed, "it has crashed"),
    ] {
        let scene = Scene::new();
        let outcome = scene.set(7, "512M");
        scene.edit(7, |web| {
            web.shutdown = Some(reason);
            web.current_kib = Kib::from_mib(1024);
        });
        let waited = scene.wait_for(&outcome, POLICY, |_| panic!("a sleep"));
        assert!(
            matches!(waited.report.end, WaitEnd::Stopped(it) if it == state),
            "{:?}",
            waited.report
        );
        assert_eq!(waited.report.end.word(), "domain-stopped");
        assert_eq!(waited.report.reasons, [WaitReason::State(state)]);
        assert!(waited.report.to_string().ends_with(text), "{}", waited.report);
    }
}

#[test]
fn the_first_event_names_a_pause() {
    let scene = Scene::new();
    let outcome = scene.set(7, "512M");
    scene.edit(7, |web| web.paused = true);
    let waited = scene.wait(&outcome, POLICY);
    assert_eq!((waited.progress[0].at, waited.progress[0].state), (Duration::ZERO, State::Paused));
    // Without a time bound, a few seconds for an admin about to unpause it.
    assert!(matches!(waited.report.end, WaitEnd::Stuck), "{:?}", waited.report);
    assert_eq!(waited.report.took, Duration::from_secs(5));
    assert_eq!(waited.report.reasons, [WaitReason::State(State::Paused)]);
    assert_eq!(
        waited.report.to_string(),
        "the target is set, but the guest has 1024 MiB instead of 512 MiB; it is paused"
    );
}

#[test]
fn a_pause_does_not_use_up_patience() {
    let scene = Scene::new();
    let outcome = scene.set(7, "512M");
    scene.edit(7, |web| web.paused = true);
    let policy = WaitPolicy {
        patience: Duration::from_secs(2),
        at_most: Some(Duration::from_mins(5)),
        ..POLICY
    };
    let waited = scene.wait_for(&outcome, policy, |now| {
        if now > Duration::from_mins(1) {
            scene.edit(7, |web| web.paused = false);
        }
        false
    });
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
    assert!(waited.report.took > Duration::from_mins(1));
}

#[test]
fn a_time_bound_holds_through_a_pause() {
    let scene = Scene::new();
    let outcome = scene.set(7, "512M");
    scene.edit(7, |web| web.paused = true);
    let policy = WaitPolicy { at_most: Some(Duration::from_secs(20)), ..POLICY };
    let waited = scene.wait(&outcome, policy);
    assert!(matches!(waited.report.end, WaitEnd::TimedOut), "{:?}", waited.report);
    assert_eq!(waited.report.took, Duration::from_secs(20));
    assert_eq!(waited.report.reasons, [WaitReason::State(State::Paused)]);
}

/// A live migration's last round, or `xl save -c`.
#[test]
fn a_wait_continues_after_a_suspension() {
    let scene = Scene::new();
    let outcome = scene.set(7, "512M");
    scene.edit(7, |web| web.shutdown = Some(Shutdown::Suspend));
    let waited = scene.wait_for(&outcome, POLICY, |now| {
        if now > Duration::from_secs(20) {
            scene.edit(7, |web| web.shutdown = None);
        }
        false
    });
    assert_eq!(waited.progress[0].state, State::Suspended);
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
}
