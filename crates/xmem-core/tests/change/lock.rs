//! The lock file is removed while the lock is held, as libxl's failure paths can do.

use std::fs::{self, File};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use xen::Kib;
use xmem_core::change::ChangeRequest;
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::recovery::{LimitStep, Recovery};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed};

use crate::scene::{START, Scene, Step, at, request, set};

#[test]
fn a_lost_lock_stops_the_change_before_its_commit() {
    for victim in [Step::Begin, Step::SetLimit(525_312), Step::SetPod(525_312)] {
        let scene = Scene::new();
        let lock = scene.lock();
        let remove = move || {
            fs::remove_file(&lock).unwrap();
            Proceed
        };
        let host = scene.host(at(move |step| *step == victim, remove));
        let failure = host.change(&request(set("512M"))).unwrap_err();
        assert!(matches!(failure.cause, Cause::LockLost), "{failure}");
        // The change was recovered under a new lock, as after a kill.
        let limit = Kib(START.2);
        assert_eq!(failure.aftermath, Aftermath::RolledBack { limit, before: limit });
        assert_eq!(scene.numbers(), START);
        assert_eq!(scene.files().len(), 0);
        assert_eq!(host.count(|step| *step == Step::Commit), 0);
    }
}

/// Another program may hold the lock by now and have set the limit, so neither is touched. The record stays for the
/// next change.
#[test]
fn without_the_lock_no_limit_is_restored() {
    for (victim, verdict) in
        [(Step::SetLimit(525_312), Proceed), (Step::Commit, Fail(Error::Deadline))]
    {
        let scene = Scene::new();
        let theirs = Arc::new(Mutex::new(None));
        let hook = {
            let (lock, theirs, victim) = (scene.lock(), Arc::clone(&theirs), victim.clone());
            at(
                move |step| *step == victim,
                move || {
                    fs::remove_file(&lock).unwrap();
                    let file = File::create(&lock).unwrap();
                    flock(&file, FlockOperation::LockExclusive).unwrap();
                    *theirs.lock().unwrap() = Some(file);
                    verdict
                },
            )
        };
        let host = scene.host(hook);
        let request = ChangeRequest { lock_timeout: Duration::ZERO, ..request(set("512M")) };
        let failure = host.change(&request).unwrap_err();
        assert!(matches!(failure.cause, Cause::LockLost), "{victim:?}: {failure}");
        let is_out_of_step = matches!(failure.aftermath, Aftermath::OutOfStep { limit: None, .. });
        assert!(is_out_of_step, "{victim:?}: {failure}");
        assert!(scene.lock().exists());
        assert_eq!(scene.numbers(), (START.0, START.1, 525_312));
        assert_eq!(host.count(|step| matches!(step, Step::SetLimit(_))), 1, "{victim:?}");

        drop(theirs.lock().unwrap().take());
        let outcome = scene.plain(set("768M")).unwrap();
        assert_eq!(
            outcome.recovery,
            Some(Recovery::RolledBack(LimitStep { from: Kib(525_312), to: Kib(START.2) }))
        );
        assert_eq!(scene.numbers(), (786_432, START.1, 787_456));
        assert_eq!(scene.files().len(), 0);
    }
}
