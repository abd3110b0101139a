//! After a failure at any step, the host is in the state that the failure reports.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use xen::Kib;
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::failure::{Aftermath, Cause, Failure};
use xmem_core::plan::Note;
use xmem_sim::Verdict::{Fail, Proceed, ProceedAndFail};
use xmem_sim::{Failure as Error, Verdict};

use crate::scene::{
    Numbers, START, Scene, Step, answers, at, max, nth, raise, refused, rehearsal, request,
    requests, set,
};

/// The ways in which a call can fail.
fn verdicts(step: &Step) -> Vec<Verdict> {
    let store = [answers("EIO"), answers("EACCES"), Error::Closed, Error::Deadline];
    match step {
        Step::Domain | Step::Domains | Step::HostMemory | Step::Pod => {
            [Errno::PERM, Errno::INVAL].map(|errno| Fail(Error::Errno(errno))).into()
        }
        Step::SetLimit(_) | Step::SetPod(_) => [Errno::PERM, Errno::NOMEM, Errno::SRCH]
            .into_iter()
            .map(Error::Errno)
            .flat_map(|error| [Fail(error.clone()), ProceedAndFail(error)])
            .collect(),
        Step::Commit => store
            .into_iter()
            .chain([Error::Unusable, answers("EQUOTA")])
            .map(Fail)
            // The effect is in doubt only if xenstored has not answered.
            .chain([ProceedAndFail(Error::Closed), ProceedAndFail(Error::Deadline)])
            .collect(),
        _ => store.into_iter().map(Fail).collect(),
    }
}

/// Checks that the host is in the state that the result reports, and that the next change puts it in step.
fn check(scene: &Scene, result: &Result<Outcome, Failure>, new: Numbers, what: &str) {
    let now = scene.numbers();
    match result {
        Ok(outcome) => {
            assert_eq!(outcome.status, ChangeStatus::Changed, "{what}");
            assert_eq!(now, new, "{what}");
            assert_eq!(scene.files().len(), 0, "{what}");
        }
        Err(Failure { aftermath: Aftermath::Unchanged, .. }) => {
            assert_eq!(now, START, "{what}: {result:?}");
            assert_eq!(scene.files().len(), 0, "{what}");
        }
        Err(Failure { aftermath: Aftermath::RolledBack { limit, before }, .. }) => {
            assert_eq!((limit.0, before.0), (START.2, START.2), "{what}");
            assert_eq!(now, START, "{what}: {result:?}");
            assert_eq!(scene.files().len(), 0, "{what}");
        }
        Err(Failure { aftermath: Aftermath::OutOfStep { limit, intent, .. }, .. }) => {
            assert_eq!(scene.files(), [scene.record()], "{what}");
            assert_eq!(*intent, scene.record(), "{what}");
            if let Some(limit) = limit {
                assert_eq!(now.2, limit.0, "{what}");
                assert_eq!(now.2, START.2.max(new.2), "{what}: not the larger limit");
            }
        }
        Err(failure) => panic!("{what}: {failure:?}"),
    }
    let failure = scene.plain(refused()).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(_)), "{what}: {failure}");
    let recovered = scene.numbers();
    assert!([START, new].contains(&recovered), "{what}: {recovered:?}");
    assert_eq!((recovered.0, recovered.1), (now.0, now.1), "{what}");
    assert_eq!(scene.files().len(), 0, "{what}");
}

#[test]
fn a_failure_at_any_step_reports_the_state() {
    for (memory, new) in requests() {
        for (index, step) in rehearsal(memory).iter().enumerate() {
            for verdict in verdicts(step) {
                let what = format!("{memory:?}, step {index}: {step:?}, {verdict:?}");
                let scene = Scene::new();
                let result = scene.change(memory, nth(index, verdict));
                check(&scene, &result, new, &what);
            }
        }
    }
}

/// From some step on, xenstored and the hypervisor fail for good.
#[test]
fn a_failure_of_every_further_step_reports_the_last_known_state() {
    for (memory, new) in requests() {
        for (index, step) in rehearsal(memory).iter().enumerate() {
            for first_is_done in [false, true] {
                let what = format!("{memory:?}, from step {index} on: {step:?}, {first_is_done}");
                let scene = Scene::new();
                let mut count = 0..;
                let result = scene.change(memory, move |step| {
                    let error =
                        if step.is_hypercall() { Error::Errno(Errno::IO) } else { Error::Closed };
                    match count.next().unwrap() {
                        before if before < index => Proceed,
                        first if first == index && first_is_done => ProceedAndFail(error),
                        _ => Fail(error),
                    }
                });
                // The change needs neither the host's memory nor the PoD state, and a commit may have been carried out.
                assert!(result.is_err(), "{what}");
                check(&scene, &result, new, &what);
            }
        }
    }
}

/// As after a bug in xmem.
#[test]
fn a_change_dropped_in_a_panic_is_rolled_back() {
    for (memory, _) in requests() {
        for (index, step) in rehearsal(memory).iter().enumerate() {
            let scene = Scene::new();
            let mut count = 0..;
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                scene.change(memory, move |_| {
                    assert_ne!(count.next(), Some(index), "as planned");
                    Proceed
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(scene.numbers(), START, "{memory:?}, {step:?}");
            assert_eq!(scene.files().len(), 0, "{memory:?}, {step:?}");
        }
    }
}

#[test]
fn a_rollback_reports_the_restored_limit() {
    let scene = Scene::new();
    let hook = at(|step| *step == Step::Commit, || Fail(answers("EQUOTA")));
    let failure = scene.change(set("512M"), hook).unwrap_err();
    let limit = Kib(START.2);
    assert_eq!(failure.aftermath, Aftermath::RolledBack { limit, before: limit });
    assert!(
        failure.to_string().ends_with("; rolled back; the limit is 1025 MiB again"),
        "{failure}"
    );
}

/// The hypervisor refused to set it.
#[test]
fn a_refused_limit_needs_no_rollback() {
    let scene = Scene::new();
    let refuse = || Fail(Error::Errno(Errno::PERM));
    let failure = scene
        .change(set("512M"), at(|step| matches!(step, Step::SetLimit(_)), refuse))
        .unwrap_err();
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
    assert!(failure.to_string().ends_with("; nothing changed"), "{failure}");
}

/// xenstored may still carry the commit out, so that a read now would prove nothing.
#[test]
fn after_a_deadline_at_the_commit_nothing_is_read() {
    for verdict in [Fail(Error::Deadline), ProceedAndFail(Error::Deadline)] {
        let scene = Scene::new();
        let host = scene.host(at(|step| *step == Step::Commit, || verdict));
        let failure = host.change(&request(set("512M"))).unwrap_err();
        let Aftermath::OutOfStep { limit: Some(Kib(limit)), .. } = failure.aftermath else {
            panic!("{failure}")
        };
        assert_eq!(limit, START.2);
        let steps = host.steps();
        let commit = steps.iter().position(|step| *step == Step::Commit).unwrap();
        let name_read = Step::Read(vec!["/local/domain/7/name".to_owned()]);
        assert!(!steps.contains(&name_read));
        assert_eq!(steps[commit + 1..], [Step::Domain, Step::SetLimit(START.2)]);
    }
}

#[test]
fn an_unknown_commit_names_the_new_target_and_maximum() {
    for (memory, values) in [
        (set("1536M"), "the new target of 1536 MiB was"),
        (max("3G"), "the new maximum of 3072 MiB was"),
        (raise("3G"), "the new target of 3072 MiB and the new maximum of 3072 MiB were"),
    ] {
        let scene = Scene::new();
        let hook = at(|step| *step == Step::Commit, || Fail(Error::Deadline));
        let failure = scene.change(memory, hook).unwrap_err().to_string();
        let whether = format!("whether {values} committed is not known; the limit is ");
        assert!(failure.contains(&whether), "{failure}");
    }
}

#[test]
fn a_failed_rollback_is_out_of_step_until_the_next_change_recovers() {
    let scene = Scene::new();
    let failure = scene.stuck(set("512M"));
    assert_eq!(scene.numbers(), (START.0, START.1, 525_312));
    let why = "the old limit (1025 MiB) could not be restored";
    assert!(failure.to_string().contains(why), "{failure}");
    scene.plain(set("1G")).unwrap();
    assert_eq!(scene.numbers(), START);
}

/// The restoring call fails but takes effect, which the hypervisor's answer shows.
#[test]
fn a_limit_restored_by_a_failed_call_is_rolled_back() {
    let scene = Scene::new();
    let mut limits = 0;
    let hook = move |step: &Step| match step {
        Step::Commit => Fail(answers("EQUOTA")),
        Step::SetLimit(_) => {
            limits += 1;
            if limits == 2 { ProceedAndFail(Error::Errno(Errno::IO)) } else { Proceed }
        }
        _ => Proceed,
    };
    let failure = scene.change(set("512M"), hook).unwrap_err();
    let limit = Kib(START.2);
    assert_eq!(failure.aftermath, Aftermath::RolledBack { limit, before: limit });
    assert_eq!((scene.numbers(), scene.files().len()), (START, 0));
}

#[test]
fn a_failed_write_leaves_the_limit_unchanged() {
    let scene = Scene::new();
    let hook = at(|step| matches!(step, Step::Write(_)), || Fail(answers("ENOSPC")));
    let host = scene.host(hook);
    let failure = host.change(&request(set("512M"))).unwrap_err();
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
    assert_eq!(host.count(|step| matches!(step, Step::SetLimit(_))), 0);
}

/// Repeating a relative size would apply it twice.
#[test]
fn a_failure_names_the_absolute_size_to_repeat() {
    let hook = || at(|step| *step == Step::Commit, || ProceedAndFail(Error::Deadline));
    for (memory, absolute) in [
        (set("+256M"), 1_310_720),
        (set("-256M"), 786_432),
        (set("75%"), 1_572_864),
        (set("512M"), 524_288),
        (max("+1G"), 3_145_728),
    ] {
        let scene = Scene::new();
        let failure = scene.change(memory, hook()).unwrap_err();
        assert_eq!(failure.absolute, Some(Kib(absolute)), "{memory:?}");
        // It was committed: the absolute size changes nothing more.
        let again = scene.plain(match memory {
            xmem_core::plan::MemoryRequest::Max { .. } => max(&format!("{absolute}k")),
            _ => set(&format!("{absolute}k")),
        });
        assert_eq!(again.unwrap().status, ChangeStatus::Unchanged);
    }
}

/// The change itself stands.
#[test]
fn a_record_that_cannot_be_removed_is_noted() {
    let scene = Scene::new();
    let record = scene.record();
    let in_the_way = move || {
        // Like a read-only file system, but also for root.
        std::fs::remove_file(&record).unwrap();
        std::fs::create_dir(&record).unwrap();
        Proceed
    };
    let outcome = scene.change(set("512M"), at(|step| *step == Step::Commit, in_the_way)).unwrap();
    assert_eq!(outcome.status, ChangeStatus::Changed);
    let [Note::RecordLeft { path, why }] = &outcome.plan.notes[..] else { panic!("{outcome:?}") };
    assert_eq!((path, why.is_empty()), (&scene.record(), false));
}
