//! Recovery from the record of a killed run.

use std::fs;

use rustix::io::Errno;
use xen::Kib;
use xmem_core::change::{ChangeStatus, Outcome};
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::recovery::{LimitStep, Recovery};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed};

use crate::scene::{Numbers, START, Scene, Step, at, refused, request, set};

const SMALL: Numbers = (524_288, 2_097_152, 525_312);

fn step(from: Numbers, to: Numbers) -> LimitStep {
    LimitStep { from: Kib(from.2), to: Kib(to.2) }
}

/// A scene with the numbers `now` and the record of a run that was killed on its way from `old` to `new`.
fn scene(now: Numbers, old: Numbers, new: Numbers) -> Scene {
    let scene = Scene::new();
    scene.world.write("target", now.0);
    scene.world.write("static-max", now.1);
    scene.world.set_limit(now.2);
    let side = |(target, max, limit): Numbers| {
        format!(r#"{{"target_kib":{target},"static_max_kib":{max},"limit_kib":{limit}}}"#)
    };
    let text = format!(r#"{{"version":1,"pid":1,"old":{},"new":{}}}"#, side(old), side(new));
    fs::write(scene.record(), text).unwrap();
    scene
}

/// Recovers, by a change to the present target. Returns the recovery and the numbers after it.
fn recovered(scene: &Scene) -> (Option<Recovery>, Numbers) {
    let (target, _, limit) = scene.numbers();
    let outcome = scene.plain(set(&format!("{target}k"))).unwrap();
    assert_eq!(scene.files().len(), 0);
    assert_eq!(
        (outcome.old().limit, outcome.is_change()),
        (Kib(limit), limit != scene.numbers().2)
    );
    (outcome.recovery, scene.numbers())
}

#[test]
fn a_committed_change_gets_its_limit() {
    let grown = scene((1_048_576, 2_097_152, 525_312), SMALL, START);
    assert_eq!(recovered(&grown), (Some(Recovery::Completed(step(SMALL, START))), START));
    let shrunk = scene((524_288, 2_097_152, 1_049_600), START, SMALL);
    assert_eq!(recovered(&shrunk), (Some(Recovery::Completed(step(START, SMALL))), SMALL));
}

#[test]
fn an_uncommitted_change_is_rolled_back() {
    let shrinking = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    assert_eq!(recovered(&shrinking), (Some(Recovery::RolledBack(step(SMALL, START))), START));
    let growing = scene((524_288, 2_097_152, 1_049_600), SMALL, START);
    assert_eq!(recovered(&growing), (Some(Recovery::RolledBack(step(START, SMALL))), SMALL));
}

#[test]
fn memory_set_since_by_another_program_stays() {
    // Its limit stays if it holds the target...
    let enough = scene((786_432, 2_097_152, 900_000), START, SMALL);
    let outcome = enough.plain(set("768M")).unwrap();
    assert_eq!(
        outcome.recovery,
        Some(Recovery::Superseded(LimitStep { from: Kib(900_000), to: Kib(900_000) }))
    );
    assert_eq!(outcome.plan.old.limit, Kib(900_000));
    // ... and is raised to what the target needs if not.
    let starved = scene((786_432, 2_097_152, 525_312), START, SMALL);
    let expected = (786_432, 2_097_152, 787_456);
    assert_eq!(recovered(&starved), (Some(Recovery::Superseded(step(SMALL, expected))), expected));
}

#[test]
fn a_record_with_a_low_limit_does_not_starve_the_guest() {
    for (old, new) in [((START.0, START.1, 4096), SMALL), (SMALL, (START.0, START.1, 4096))] {
        let scene = scene((START.0, START.1, 4096), old, new);
        assert_eq!(recovered(&scene).1, START);
    }
}

#[test]
fn a_rollback_after_a_recovery_restores_the_recovered_limit() {
    let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    let hook = |step: &Step| match step {
        Step::SetPod(_) => Fail(Error::Errno(Errno::NOMEM)),
        _ => Proceed,
    };
    let failure = scene.change(set("768M"), hook).unwrap_err();
    let limit = Kib(START.2);
    assert_eq!(failure.aftermath, Aftermath::RolledBack { limit, before: limit });
    assert_eq!(failure.recovery, Some(Recovery::RolledBack(step(SMALL, START))));
    let words = "; rolled back; the limit is 1025 MiB again; an earlier xmem was interrupted before its commit; the limit is rolled back to 1025 MiB";
    assert!(failure.to_string().ends_with(words), "{failure}");
    assert_eq!((failure.state(), failure.is_change()), (Some("rolled-back"), true));
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
}

#[test]
fn a_recovery_that_fails_leaves_the_record() {
    let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    let hook = |step: &Step| match step {
        Step::SetLimit(_) => Fail(Error::Errno(Errno::PERM)),
        _ => Proceed,
    };
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Hypervisor(_)), "{failure}");
    assert_eq!(scene.files(), [scene.record()]);
    assert_eq!(recovered(&scene), (Some(Recovery::RolledBack(step(SMALL, START))), START));
}

/// It does not say "nothing changed", since the limit was.
#[test]
fn a_recovery_that_cannot_remove_its_record_reports_the_limit() {
    let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    let record = scene.record();
    let in_the_way = move || {
        // Like a read-only file system, but also for root.
        fs::remove_file(&record).unwrap();
        fs::create_dir(&record).unwrap();
        Proceed
    };
    let hook = at(|step| matches!(step, Step::SetLimit(_)), in_the_way);
    let failure = scene.change(set("1G"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Intent(_)), "{failure}");
    assert_eq!(failure.recovery, Some(Recovery::RolledBack(step(SMALL, START))));
    assert_eq!((failure.state(), failure.is_change()), (Some("recovered"), true));
    assert_eq!(scene.numbers(), START);
}

#[test]
fn a_refusal_after_a_recovery_says_what_was_recovered() {
    let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    let failure = scene.plain(refused()).unwrap_err();
    assert_eq!(failure.recovery, Some(Recovery::RolledBack(step(SMALL, START))));
    assert_eq!((failure.state(), failure.is_change()), (Some("recovered"), true));
    let words = "; nothing else changed: an earlier xmem was interrupted before its commit; the limit is rolled back to 1025 MiB";
    assert!(failure.to_string().ends_with(words), "{failure}");
}

#[test]
fn a_dry_run_leaves_the_record() {
    for is_foreign in [false, true] {
        let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
        if is_foreign {
            fs::write(scene.record(), "?").unwrap();
        }
        let before = fs::read(scene.record()).unwrap();
        let mut dry = request(set("1G"));
        dry.dry_run = true;
        let Outcome { recovery, status, .. } = scene.calm().change(&dry).unwrap();
        assert_eq!(recovery, Some(Recovery::Pending(scene.record())));
        assert_eq!(status, ChangeStatus::DryRun);
        assert_eq!(fs::read(scene.record()).unwrap(), before);
        assert_eq!(scene.numbers(), (1_048_576, 2_097_152, 525_312));
    }
}

#[test]
fn a_foreign_record_is_set_aside_and_not_trusted() {
    let scene = Scene::new();
    for text in ["", "{}", "null", r#"{"version":2}"#] {
        fs::write(scene.record(), text).unwrap();
        let outcome = scene.plain(set("1G")).unwrap();
        let Some(Recovery::SetAside { path, .. }) = outcome.recovery else { panic!("{outcome:?}") };
        assert_eq!(scene.files(), std::slice::from_ref(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(scene.numbers(), START);
        fs::remove_file(path).unwrap();
    }
}

/// A kill could not be recovered from.
#[test]
fn without_a_record_no_change_is_made() {
    let scene = Scene::new();
    fs::create_dir(scene.draft()).unwrap();
    let host = scene.host(|step| {
        assert!(!step.is_change(), "{step:?}");
        Proceed
    });
    let failure = host.change(&request(set("512M"))).unwrap_err();
    assert!(matches!(failure.cause, Cause::Intent(_)), "{failure}");
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files(), [scene.draft()]);
}

/// A run that is killed while it writes its record has changed nothing.
#[test]
fn a_draft_of_a_record_is_ignored() {
    let scene = Scene::new();
    fs::write(scene.draft(), r#"{"version":1,"pid":1,"old":{"targ"#).unwrap();
    let outcome = scene.plain(set("512M")).unwrap();
    assert_eq!((outcome.recovery, outcome.status), (None, ChangeStatus::Changed));
    assert_eq!(scene.numbers(), SMALL);
    assert_eq!(scene.files().len(), 0);
}
