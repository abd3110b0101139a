//! The lock file is taken away while it is held, as libxl's failure paths can do.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use fs2::FileExt as _;
use xmem::change::Request;
use xmem::error::{After, Cause, Exit};
use xmem::settle::Earlier;
use xmem::size::Kib;

use crate::watched::{Error, START, Scene, Step, Then, at, request, set};

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
        let failure = host.change(&request(&set("512M"))).unwrap_err();
        assert!(matches!(failure.cause, Cause::LockLost), "{failure}");
        assert_eq!(failure.after, After::PutBack { limit: Kib(START.2) });
        assert_eq!(failure.exit(), Exit::Failed);
        assert_eq!(scene.numbers(), START);
        assert_eq!(scene.state().len(), 0);
        assert!(!host.steps().contains(&Step::Commit));
    }
}

/// A lock that another program holds by now is left alone, and with it the limit, which may be that one's. The
/// record stays, by which the next change settles it.
#[test]
fn without_the_lock_no_limit_is_set() {
    for (victim, then) in
        [(Step::SetLimit(525_312), Then::Go), (Step::Commit, Then::Fail(Error::Deadline))]
    {
        let scene = Scene::new();
        let lock = scene.lock();
        let theirs = Rc::new(RefCell::new(None));
        let hook = {
            let (theirs, victim) = (Rc::clone(&theirs), victim.clone());
            at(
                move |step| *step == victim,
                move || {
                    fs::remove_file(&lock).unwrap();
                    let file = fs::File::create(&lock).unwrap();
                    file.lock_exclusive().unwrap();
                    *theirs.borrow_mut() = Some(file);
                    then
                },
            )
        };
        let host = scene.host(hook);
        let request = Request { lock_timeout: Duration::ZERO, ..request(&set("512M")) };
        let failure = host.change(&request).unwrap_err();
        assert!(matches!(failure.cause, Cause::LockLost), "{victim:?}: {failure}");
        assert_eq!(failure.exit(), Exit::OutOfStep, "{victim:?}: {failure}");
        assert!(scene.lock().exists());
        assert_eq!(scene.numbers(), (START.0, START.1, 525_312));
        let limits = |step: &&Step| matches!(step, Step::SetLimit(_));
        assert_eq!(host.steps().iter().filter(limits).count(), 1, "{victim:?}");

        // What they have set stands, as far as their target can live with it.
        drop(theirs.take());
        let outcome = scene.plain(&set("768M")).unwrap();
        assert_eq!(outcome.earlier, Some(Earlier::Undone(Kib(START.2))));
        assert_eq!(scene.numbers(), (786_432, START.1, 787_456));
        assert_eq!(scene.state().len(), 0);
    }
}
