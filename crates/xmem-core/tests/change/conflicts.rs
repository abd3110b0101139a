//! Conflicts with writers that do not take the lock.

use rustix::io::Errno;
use xen::Kib;
use xmem_core::failure::{Aftermath, Cause};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed};

use crate::scene::{START, Scene, Step, answers, at, before_commit, max, request, set};

fn is_commit(step: &Step) -> bool {
    *step == Step::Commit
}

fn rolled_back(limit: u64, before: u64) -> Aftermath {
    Aftermath::RolledBack { limit: Kib(limit), before: Kib(before) }
}

#[test]
fn after_a_conflict_all_numbers_are_read_again() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let host = scene.host(before_commit(move || world.write("target", 786_432)));
    let outcome = host.change(&request(set("+256M"))).unwrap();
    // The step starts from the other writer's target.
    assert_eq!(outcome.plan.old.target, Some(Kib(786_432)));
    assert_eq!(scene.numbers(), (1_048_576, 2_097_152, 1_049_600));
    assert_eq!(host.count(is_commit), 2);
    assert_eq!(scene.files().len(), 0);
}

/// The other writer may rely on it.
#[test]
fn a_write_of_the_same_value_is_a_conflict() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let host = scene.host(before_commit(move || world.write("target", 1_048_576)));
    host.change(&request(set("512M"))).unwrap();
    assert_eq!(host.count(is_commit), 2);
}

/// A guest may report at any time what it uses. One that does nothing else would otherwise never be shrunk.
#[test]
fn a_guests_report_is_no_conflict() {
    for node in ["data/meminfo_total", "data/meminfo_free", "memory/meminfo"] {
        let scene = Scene::new();
        let world = scene.world.clone();
        let path = format!("/local/domain/7/{node}");
        let host = scene.host(before_commit(move || world.edit(|it| it.write(&path, "700000"))));
        host.change(&request(set("512M"))).unwrap();
        assert_eq!(host.count(is_commit), 1, "{node}");
    }
}

/// The new plan is checked again.
#[test]
fn a_change_that_is_refused_after_a_conflict_is_rolled_back() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let hook = before_commit(move || world.write("static-max", 1_048_576));
    let failure = scene.change(set("1536M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(_)), "{failure}");
    assert_eq!(failure.aftermath, rolled_back(START.2, START.2));
    assert_eq!(scene.numbers(), (1_048_576, 1_048_576, 1_049_600));
    assert_eq!(scene.files().len(), 0);
}

#[test]
fn after_endless_conflicts_the_change_is_rolled_back() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let host = scene.host(move |step| {
        if is_commit(step) {
            world.write("target", 1_048_576);
        }
        Proceed
    });
    let failure = host.change(&request(set("512M"))).unwrap_err();
    assert!(matches!(failure.cause, Cause::Conflicts { tries: 16 }));
    assert_eq!(failure.aftermath, rolled_back(START.2, START.2));
    assert_eq!(host.count(is_commit), 16);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
}

/// It does not say "nothing changed", since the limit is another one.
#[test]
fn a_failure_after_conflicts_names_the_limit() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let host = scene.host(move |step| {
        if is_commit(step) {
            world.write("target", 1_572_864);
        }
        Proceed
    });
    let failure = host.change(&request(set("512M"))).unwrap_err();
    assert!(matches!(failure.cause, Cause::Conflicts { .. }));
    assert_eq!(failure.aftermath, rolled_back(1_573_888, START.2));
    assert_eq!(scene.numbers(), (1_572_864, START.1, 1_573_888));
    assert_eq!(failure.absolute, Some(Kib(524_288)));
}

/// A memory daemon sets limit and target between the reads and the commit.
#[test]
fn a_conflict_keeps_another_writers_limit() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let hook = before_commit(move || {
        world.set_limit(1_573_888);
        world.write("target", 1_572_864);
        world.write("static-max", 1_572_864);
    });
    // Refused when the numbers are read again.
    let failure = scene.change(set("1800M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(_)), "{failure}");
    assert_eq!(scene.numbers(), (1_572_864, 1_572_864, 1_573_888));
    assert_eq!(failure.aftermath, rolled_back(1_573_888, START.2));
}

/// The second try fails after it has set the limit, and restores the first one's.
#[test]
fn a_rollback_after_a_conflict_restores_the_limit_read_last() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let mut commits = 0;
    let hook = move |step: &Step| {
        if is_commit(step) {
            commits += 1;
            world.write("target", 1_572_864);
        }
        match step {
            Step::SetPod(_) if commits == 1 => Fail(Error::Errno(Errno::NOMEM)),
            _ => Proceed,
        }
    };
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert_eq!(failure.aftermath, rolled_back(1_573_888, START.2));
    assert_eq!(scene.numbers(), (1_572_864, 2_097_152, 1_573_888));
}

/// Since the limit was not changed, nothing is reported as rolled back.
#[test]
fn a_conflict_without_a_new_limit_needs_no_rollback() {
    let scene = Scene::new();
    scene.world.set_limit(START.1 + 1024);
    let world = scene.world.clone();
    let mut refuse = at(|step| *step == Step::Begin, || Fail(answers("EIO")));
    let mut conflicted = false;
    let hook = move |step: &Step| {
        if conflicted {
            return refuse(step);
        }
        conflicted = is_commit(step);
        if conflicted {
            world.write("static-max", START.1);
        }
        Proceed
    };
    let failure = scene.change(max("1536M"), hook).unwrap_err();
    let limit = START.1 + 1024;
    assert_eq!(failure.aftermath, rolled_back(limit, limit));
    scene.world.set_limit(1_573_888);
    let failure =
        scene.change(max("1536M"), at(is_commit, || Fail(answers("EQUOTA")))).unwrap_err();
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
}

/// Rolling back after a conflict leaves the limit that the target needs, which the next try finds.
#[test]
fn a_limit_that_a_rollback_raised_is_a_change_of_this_run() {
    let scene = Scene::new();
    scene.world.set_limit(400_000);
    let outcome = scene.change(set("1G"), at(is_commit, || Fail(Error::Errno(Errno::AGAIN))));
    let outcome = outcome.unwrap();
    assert_eq!(scene.numbers(), START);
    assert_eq!((outcome.old().limit, outcome.plan.new.limit), (Kib(400_000), Kib(START.2)));
    assert!(outcome.is_change());
}
