//! Signals at every step.

use nix::sys::signal::Signal::{self, SIGINT, SIGTERM};
use nix::sys::signal::{SigSet, raise};
use xmem::change::{End, change};
use xmem::error::{After, Cause};
use xmem::signals::Signals;

use crate::watched::{Error, START, Scene, Step, Then, at, request, set};

/// A signal at any step under the lock: before the change begins it ends it, from then on it waits;
/// in both cases it is still there for the process to die of.
#[test]
fn a_signal_at_any_step_finds_all_or_nothing() {
    let rehearsal = Scene::new();
    let host = rehearsal.host(|_| Then::Go);
    host.change(&request(&set("512M"))).unwrap();
    let steps = host.steps();
    // The second look is the first call with signals held off.
    let first = steps.iter().rposition(|step| *step == Step::Look).unwrap();
    let begins = steps.iter().position(|step| matches!(step, Step::Write(_))).unwrap();
    assert!(first < begins && begins < steps.len());
    for (index, step) in steps.iter().enumerate().skip(first) {
        let signal = if index % 2 == 0 { SIGINT } else { SIGTERM };
        let scene = Scene::new();
        let mut at = 0..;
        let host = scene.host(move |_| {
            if at.next() == Some(index) {
                raise(signal).unwrap();
            }
            Then::Go
        });
        let mut signals = Signals::default();
        let result = change(&host, &request(&set("512M")), &mut signals);
        assert_eq!(taken(signal), signal, "lost at {step:?}");
        drop(signals);
        match result {
            Ok(outcome) => {
                assert!(index >= begins, "{step:?}");
                assert_eq!(outcome.end, End::Changed);
                assert_eq!(scene.numbers(), (524_288, 2_097_152, 525_312));
            }
            Err(failure) => {
                assert!(index < begins, "{step:?}");
                assert!(matches!(failure.cause, Cause::Interrupted), "{failure}");
                assert_eq!(failure.after, After::Unchanged);
                assert_eq!(scene.numbers(), START);
            }
        }
        assert_eq!(scene.state().len(), 0);
    }
}

/// The first try meets a conflict while a signal waits: it is put back, and not tried again.
#[test]
fn a_signal_between_two_tries_ends_it_with_everything_put_back() {
    let scene = Scene::new();
    let hook = at(
        |step| *step == Step::Commit,
        || {
            raise(SIGTERM).unwrap();
            Then::Fail(Error::Answer("EAGAIN"))
        },
    );
    let mut signals = Signals::default();
    let failure = change(&scene.host(hook), &request(&set("512M")), &mut signals).unwrap_err();
    assert_eq!(taken(SIGTERM), SIGTERM);
    drop(signals);
    assert!(matches!(failure.cause, Cause::Interrupted), "{failure}");
    assert_eq!(failure.after, After::Unchanged);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state().len(), 0);
}

/// The signal that waits, taken so that the test does not die of it.
fn taken(signal: Signal) -> Signal {
    SigSet::from(signal).wait().unwrap()
}
