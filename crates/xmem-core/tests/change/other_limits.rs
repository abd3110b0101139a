//! Limits that another program sets meanwhile: none of them is overwritten by a rollback or a recovery.

use rustix::io::Errno;
use xen::Kib;
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::recovery::Recovery;
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed, ProceedAndFail};

use crate::scene::{START, Scene, Shared, Step, answers, at, max, refused, request, set};

/// A manager without the lock sets target and limit, as qmemman and squeezed do.
fn manage(world: &Shared, target: u64) {
    world.set_limit(target + 1024);
    world.write("static-max", target.max(START.1));
    world.write("target", target);
}

fn rolled_back(limit: u64) -> Aftermath {
    Aftermath::RolledBack { limit: Kib(limit), before: Kib(START.2) }
}

#[test]
fn a_rollback_keeps_a_limit_set_by_another_program() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let manager = move || {
        manage(&world, 4_194_304);
        Fail(Error::Errno(Errno::NOMEM))
    };
    let hook = at(|step| matches!(step, Step::SetPod(_)), manager);
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert_eq!(scene.numbers(), (4_194_304, 4_194_304, 4_195_328));
    assert_eq!(failure.aftermath, rolled_back(4_195_328));
    assert!(failure.to_string().contains("the limit is 4097 MiB now, where it was 1025 MiB"));
    assert_eq!(scene.files().len(), 0);
}

/// The same limit as this run's, and a target that needs it.
#[test]
fn a_rollback_leaves_what_another_programs_target_needs() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let manager = move || {
        manage(&world, 1_572_864);
        Fail(Error::Unusable)
    };
    let hook = at(|step| *step == Step::Commit, manager);
    let failure = scene.change(set("1536M"), hook).unwrap_err();
    assert_eq!(scene.numbers(), (1_572_864, START.1, 1_573_888));
    assert_eq!(failure.aftermath, rolled_back(1_573_888));
}

/// And a limit that is too low for another program's target is raised to what that needs.
#[test]
fn a_rollback_raises_a_limit_to_what_the_target_in_xenstore_needs() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let manager = move || {
        world.write("target", 1_572_864);
        Fail(answers("EQUOTA"))
    };
    let failure = scene.change(set("512M"), at(|step| *step == Step::Commit, manager)).unwrap_err();
    assert_eq!(scene.numbers(), (1_572_864, START.1, 1_573_888));
    assert_eq!(failure.aftermath, rolled_back(1_573_888));
}

/// The connection dies during the commit, and another program writes before anybody can look. What became of the commit is
/// known then: it is superseded.
#[test]
fn a_lost_commit_that_was_superseded_keeps_the_other_programs_limit() {
    for (limit, left) in [(4_195_328, 4_195_328), (800_000, 801_024)] {
        for commit in [Fail(Error::Closed), ProceedAndFail(Error::Closed)] {
            let scene = Scene::new();
            let world = scene.world.clone();
            let mut commit = Some(commit);
            let mut connects = 0;
            let hook = move |step: &Step| match step {
                Step::Commit => commit.take().unwrap(),
                Step::Connect => {
                    connects += 1;
                    if connects == 2 {
                        world.set_limit(limit);
                        world.write("target", 800_000);
                    }
                    Proceed
                }
                _ => Proceed,
            };
            let failure = scene.change(set("512M"), hook).unwrap_err();
            assert!(matches!(failure.cause, Cause::Store(_)), "{failure}");
            assert_eq!(failure.aftermath, rolled_back(left));
            assert_eq!(scene.numbers(), (800_000, START.1, left));
            assert_eq!(scene.files().len(), 0);
        }
    }
}

/// Only the limit of this run is replaced by the larger one.
#[test]
fn an_unknown_commit_keeps_another_programs_limit() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let manager = move || {
        world.set_limit(700_000);
        Fail(Error::Deadline)
    };
    let failure = scene.change(set("512M"), at(|step| *step == Step::Commit, manager)).unwrap_err();
    let Aftermath::OutOfStep { limit, .. } = failure.aftermath else { panic!("{failure}") };
    assert_eq!((limit, scene.numbers().2), (Some(Kib(700_000)), 700_000));
    assert_eq!(scene.files(), [scene.record()]);
}

/// `xl mem-max` holds the lock, and changes only the limit: always before Xen 4.17, and later if static-max is that
/// already.
#[test]
fn a_recovery_keeps_a_limit_set_by_xl_mem_max_since() {
    let scene = Scene::new();
    drop(scene.stuck(set("512M")));
    scene.world.set_limit(3_146_752);
    let failure = scene.plain(refused()).unwrap_err();
    let recovery = Recovery::Superseded(Kib(3_146_752));
    assert_eq!(failure.aftermath, Aftermath::Recovered(recovery));
    assert_eq!(scene.numbers(), (START.0, START.1, 3_146_752));
    assert_eq!(scene.files().len(), 0);
}

/// A dropped change is rolled back in the same way.
#[test]
fn a_panic_keeps_a_limit_set_by_another_program() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let hook = at(
        |step| *step == Step::Commit,
        move || {
            manage(&world, 4_194_304);
            panic!("as planned")
        },
    );
    let host = scene.host(hook);
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.change(&request(max("4G")))));
    assert!(panicked.is_err());
    assert_eq!(scene.numbers(), (4_194_304, 4_194_304, 4_195_328));
}
