//! Whatever fails, wherever: what is left is what the failure says.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use rustix::io::Errno;
use xmem::change::{End, Outcome};
use xmem::error::{After, Cause, Exit, Failure};
use xmem::plan::Wish;
use xmem::size::Kib;

use crate::watched::{Error, Numbers, START, Scene, Step, Then, at, max, raise, request, set};

/// One of each kind, with the numbers when done.
fn wishes() -> [(Wish, Numbers); 5] {
    [
        (set("512M"), (524_288, 2_097_152, 525_312)),
        (set("1536M"), (1_572_864, 2_097_152, 1_573_888)),
        (raise("3G"), (3_145_728, 3_145_728, 3_146_752)),
        (max("4G"), (1_048_576, 4_194_304, 4_195_328)),
        (max("1G"), (1_048_576, 1_048_576, 1_049_600)),
    ]
}

/// The ways in which a step can fail.
fn misfortunes(step: &Step) -> Vec<Then> {
    use Then::{DoAndFail, Fail};
    let store = [Error::Answer("EIO"), Error::Answer("EACCES"), Error::Closed, Error::Deadline];
    match step {
        Step::Look | Step::LookAround | Step::HostMemory => {
            [Errno::PERM, Errno::INVAL].map(|errno| Fail(Error::Xen(errno))).into()
        }
        Step::SetLimit(_) | Step::SetPod => [Errno::PERM, Errno::NOMEM, Errno::SRCH]
            .into_iter()
            .flat_map(|errno| [Fail(Error::Xen(errno)), DoAndFail(Error::Xen(errno))])
            .collect(),
        Step::Commit => store
            .into_iter()
            .chain([Error::Unusable, Error::Answer("EQUOTA")])
            .map(Fail)
            // Whether it was done can only be in doubt when xenstored has not said so.
            .chain([DoAndFail(Error::Closed), DoAndFail(Error::Deadline)])
            .collect(),
        Step::Connect | Step::Start | Step::Read(_) | Step::Write(_) | Step::Permissions => {
            store.into_iter().map(Fail).collect()
        }
    }
}

/// What is left is what the result says; and whatever it is, the next change puts it right.
fn check(scene: &Scene, result: &Result<Outcome, Failure>, new: Numbers, what: &str) {
    let now = scene.numbers();
    match result {
        Ok(outcome) => {
            assert_eq!(outcome.end, End::Changed, "{what}");
            assert_eq!(now, new, "{what}");
            assert_eq!(scene.state().len(), 0, "{what}");
        }
        Err(Failure { after: After::Unchanged | After::PutBack { .. }, .. }) => {
            assert_eq!(now, START, "{what}: {result:?}");
            assert_eq!(scene.state().len(), 0, "{what}");
        }
        Err(Failure {
            after: After::Settled { .. } | After::ReadOnly | After::Aside { .. },
            ..
        }) => {
            panic!("{what}: {result:?}")
        }
        Err(failure @ Failure { after: After::OutOfStep { limit, intent, .. }, .. }) => {
            assert_eq!(failure.exit(), Exit::OutOfStep, "{what}");
            assert_eq!(scene.state(), [scene.intent()], "{what}");
            assert_eq!(*intent, scene.intent(), "{what}");
            if let Some(limit) = limit {
                assert_eq!(now.2, limit.0, "{what}");
                assert_eq!(now.2, START.2.max(new.2), "{what}: not the larger limit");
            }
        }
    }
    // Refused, so that nothing but a settlement changes anything.
    let refused = scene.plain(&set("15T")).unwrap_err();
    assert!(matches!(refused.cause, Cause::Refused(_)), "{what}: {refused}");
    let settled = scene.numbers();
    assert!([START, new].contains(&settled), "{what}: {settled:?}");
    assert_eq!((settled.0, settled.1), (now.0, now.1), "{what}");
    assert_eq!(scene.state().len(), 0, "{what}");
}

#[test]
fn a_failure_at_any_step_leaves_what_it_says() {
    for (wish, new) in wishes() {
        let rehearsal = Scene::new();
        let host = rehearsal.host(|_| Then::Go);
        host.change(&request(&wish)).unwrap();
        for (index, step) in host.steps().iter().enumerate() {
            for misfortune in misfortunes(step) {
                let what = format!("{wish:?}, step {index}: {step:?}, {misfortune:?}");
                let scene = Scene::new();
                let mut steps = 0..;
                let mut misfortune = Some(misfortune);
                let result = scene.change(&wish, move |_| {
                    (steps.next() == Some(index))
                        .then(|| misfortune.take())
                        .flatten()
                        .unwrap_or(Then::Go)
                });
                check(&scene, &result, new, &what);
            }
        }
    }
}

/// From a step on, everything fails: xenstored and the hypervisor are gone for good.
#[test]
fn when_nothing_works_any_more_it_says_what_is_known() {
    for (wish, new) in wishes() {
        let rehearsal = Scene::new();
        let host = rehearsal.host(|_| Then::Go);
        host.change(&request(&wish)).unwrap();
        for (index, step) in host.steps().iter().enumerate() {
            for first_is_done in [false, true] {
                let what = format!("{wish:?}, from step {index} on: {step:?}, {first_is_done}");
                let scene = Scene::new();
                let mut steps = 0..;
                let result = scene.change(&wish, move |step| {
                    let error = match step {
                        Step::Look | Step::SetLimit(_) | Step::SetPod => Error::Xen(Errno::IO),
                        _ => Error::Closed,
                    };
                    match steps.next().unwrap() {
                        at if at < index => Then::Go,
                        at if at == index && first_is_done => Then::DoAndFail(error),
                        _ => Then::Fail(error),
                    }
                });
                assert!(result.is_err(), "{what}");
                check(&scene, &result, new, &what);
            }
        }
    }
}

/// A bug in xmem itself: a change that is dropped is undone.
#[test]
fn a_panic_at_any_step_undoes_it() {
    for (wish, _) in wishes() {
        let rehearsal = Scene::new();
        let host = rehearsal.host(|_| Then::Go);
        host.change(&request(&wish)).unwrap();
        for (index, step) in host.steps().iter().enumerate() {
            let scene = Scene::new();
            let mut steps = 0..;
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                scene.change(&wish, move |_| {
                    assert_ne!(steps.next(), Some(index), "as planned");
                    Then::Go
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(scene.numbers(), START, "{wish:?}, {step:?}");
            assert_eq!(scene.state().len(), 0, "{wish:?}, {step:?}");
        }
    }
}

#[test]
fn put_back_says_the_limit() {
    let scene = Scene::new();
    let hook = at(|step| *step == Step::Commit, || Then::Fail(Error::Answer("EQUOTA")));
    let failure = scene.change(&set("512M"), hook).unwrap_err();
    assert_eq!(failure.after, After::PutBack { limit: Kib(START.2) });
    assert_eq!(failure.exit(), Exit::Failed);
}

/// Not answered within the deadline: it may be carried out yet, so that asking now proves nothing.
#[test]
fn after_a_deadline_at_the_commit_nothing_is_asked() {
    for then in [Then::Fail(Error::Deadline), Then::DoAndFail(Error::Deadline)] {
        let scene = Scene::new();
        let host = scene.host(at(|step| *step == Step::Commit, || then));
        let failure = host.change(&request(&set("512M"))).unwrap_err();
        assert_eq!(failure.exit(), Exit::OutOfStep);
        let steps = host.steps();
        let commit = steps.iter().position(|step| *step == Step::Commit).unwrap();
        assert_eq!(steps[commit + 1..], [Step::SetLimit(START.2)]);
    }
}

/// The connection dies during the commit, and before anybody can look, a third party writes.
#[test]
fn a_lost_commit_that_shows_neither_side_is_out_of_step() {
    let scene = Scene::new();
    let dir = scene.path().to_owned();
    let looks = Rc::new(Cell::new(0));
    let failure = scene
        .change(&set("1536M"), move |step| match step {
            Step::Commit => Then::Fail(Error::Closed),
            Step::Connect => {
                looks.set(looks.get() + 1);
                if looks.get() == 2 {
                    crate::watched::edit(&dir, |world| {
                        world["xenstore"]["/local/domain/7/memory/target"] = "800000".into();
                    });
                }
                Then::Go
            }
            _ => Then::Go,
        })
        .unwrap_err();
    assert_eq!(failure.exit(), Exit::OutOfStep);
    assert_eq!(scene.numbers(), (800_000, 2_097_152, 1_573_888));
    assert!(scene.intent().exists());
}

/// The old limit cannot be put back: said, and mended by the next run.
#[test]
fn what_cannot_be_put_back_is_out_of_step_and_settled_later() {
    let scene = Scene::new();
    let failure = scene.stuck(&set("512M"));
    assert_eq!(failure.exit(), Exit::OutOfStep);
    assert_eq!(scene.numbers(), (START.0, START.1, 525_312));
    let told = failure.to_string();
    assert!(told.contains("the old limit of 1025 MiB could not be put back"), "{told}");
    scene.plain(&set("1G")).unwrap();
    assert_eq!(scene.numbers(), START);
}

/// Before the limit is touched, every write has been acknowledged.
#[test]
fn a_failed_write_never_touches_the_limit() {
    for nth in 0..2 {
        let scene = Scene::new();
        let mut writes = 0..;
        let host = scene.host(move |step| match step {
            Step::Write(_) if writes.next() == Some(nth) => Then::Fail(Error::Answer("ENOSPC")),
            _ => Then::Go,
        });
        let failure = host.change(&request(&set("512M"))).unwrap_err();
        assert_eq!(failure.after, After::Unchanged);
        assert!(!host.steps().iter().any(|step| matches!(step, Step::SetLimit(_))));
    }
}
