//! The lock file is taken away while it is held, as libxl's failure paths can do.

use std::fs;

use xmem::error::{After, Cause, Exit};
use xmem::size::Kib;

use crate::watched::{START, Scene, Step, Then, at, set};

#[test]
fn a_lock_that_was_lost_stops_the_change_before_its_commit() {
    for victim in [Step::Start, Step::SetLimit(525_312), Step::SetPod] {
        let scene = Scene::new();
        let lock = scene.lock();
        let host = scene.host(at(
            move |step| *step == victim,
            move || {
                fs::remove_file(&lock).unwrap();
                Then::Go
            },
        ));
        let failure = host.change(&crate::watched::request(&set("512M"))).unwrap_err();
        assert!(matches!(failure.cause, Cause::LockLost), "{failure}");
        assert_eq!(failure.after, After::PutBack { limit: Kib(START.2) });
        assert_eq!(failure.exit(), Exit::Failed);
        assert_eq!(scene.numbers(), START);
        assert_eq!(scene.state().len(), 0);
        assert!(!host.steps().contains(&Step::Commit));
    }
}

/// The file that stands there now is another's, and stays.
#[test]
fn anothers_lock_file_is_left_alone() {
    let scene = Scene::new();
    let lock = scene.lock();
    let hook = at(
        |step| matches!(step, Step::SetLimit(_)),
        move || {
            fs::remove_file(&lock).unwrap();
            fs::write(&lock, "another's").unwrap();
            Then::Go
        },
    );
    let failure = scene.change(&set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::LockLost), "{failure}");
    assert_eq!(fs::read_to_string(scene.lock()).unwrap(), "another's");
    assert_eq!(scene.numbers(), START);
}
