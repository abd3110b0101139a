//! Limits that another program sets during a change: neither a rollback nor a recovery overwrites them.

use rustix::io::Errno;
use xen::Kib;
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::recovery::{LimitStep, Recovery};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed, ProceedAndFail};

use crate::scene::{START, Scene, Shared, Step, answers, at, max, refused, request, set};

/// A memory manager sets target and limit without the lock, as qmemman and squeezed do.
fn manage(world: &Shared, target: u64) {
    world.set_limit(target + 1024);
    world.write("static-max", target.max(START.1));
    world.write("target", target);
}

fn rolled_back(limit: u64) -> Aftermath {
    Aftermath::RolledBack { limit: Kib(limit), before: Kib(START.2) }
}

/// The recovery of a change whose limit another program has set since.
fn superseded(limit: u64) -> Recovery {
    Recovery::Superseded(LimitStep { from: Kib(limit), to: Kib(limit) })
}

#[test]
fn a_rollback_keeps_a_limit_set_by_another_program() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let manager = move || {
        manage(&world, 4_194_304);
        // More than the target needs, as qmemman leaves it.
        world.set_limit(5_242_880);
        Fail(Error::Errno(Errno::NOMEM))
    };
    let hook = at(|step| matches!(step, Step::SetPod(_)), manager);
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert_eq!(scene.numbers(), (4_194_304, 4_194_304, 5_242_880));
    assert_eq!(failure.aftermath, rolled_back(5_242_880));
    assert!(failure.to_string().contains("the limit is now 5120 MiB (it was 1025 MiB)"));
    assert_eq!(scene.files().len(), 0);
}

/// The other program set the same limit as this run, and a target that needs it.
#[test]
fn a_rollback_keeps_the_limit_that_another_programs_target_needs() {
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

/// The limit was too low for another program's target.
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

/// The connection dies during the commit, and another program writes before xenstore is read again. The commit is then
/// known to be superseded.
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
            assert!(matches!(failure.cause, Cause::Commit(_)), "{failure}");
            assert_eq!(failure.aftermath, rolled_back(left));
            assert_eq!(scene.numbers(), (800_000, START.1, left));
            assert_eq!(scene.files().len(), 0);
        }
    }
}

/// Only this run's own limit may be replaced by the larger one.
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

/// `xl mem-max` takes the lock and changes the limit alone: always before Xen 4.17, and since then if static-max has
/// that value already.
#[test]
fn a_recovery_keeps_a_limit_set_by_xl_mem_max_since() {
    let scene = Scene::new();
    drop(scene.stuck(set("512M")));
    scene.world.set_limit(3_146_752);
    let failure = scene.plain(refused()).unwrap_err();
    assert_eq!(failure.recovery, Some(superseded(3_146_752)));
    assert_eq!((failure.state(), failure.is_change()), (Some("recovered"), false));
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
            world.set_limit(5_242_880);
            panic!("as planned")
        },
    );
    let host = scene.host(hook);
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.change(&request(max("4G")))));
    assert!(panicked.is_err());
    assert_eq!(scene.numbers(), (4_194_304, 4_194_304, 5_242_880));
}

/// The second try starts from the limit that the other program left.
#[test]
fn a_rollback_after_a_conflict_keeps_another_programs_limit() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let mut commits = 0;
    let hook = move |step: &Step| match step {
        Step::Commit => {
            commits += 1;
            world.set_limit(5_242_880);
            world.write("target", START.0);
            Proceed
        }
        Step::SetPod(_) if commits == 1 => Fail(Error::Errno(Errno::NOMEM)),
        _ => Proceed,
    };
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert_eq!(failure.aftermath, rolled_back(5_242_880));
    assert_eq!(scene.numbers(), (START.0, START.1, 5_242_880));
}

/// The limit to go back to is the one that the second try replaced.
#[test]
fn a_limit_set_by_another_program_between_two_tries_is_kept() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let (mut begins, mut commits) = (0, 0);
    let hook = move |step: &Step| {
        begins += usize::from(*step == Step::Begin);
        commits += usize::from(*step == Step::Commit);
        match (step, begins) {
            (Step::Commit, 1) => world.write("target", START.0),
            (Step::Begin, 2) => world.set_limit(5_242_880),
            _ => {}
        }
        if *step == Step::Commit && commits == 2 { Fail(answers("EQUOTA")) } else { Proceed }
    };
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert_eq!(failure.aftermath, rolled_back(5_242_880));
    assert_eq!(scene.numbers(), (START.0, START.1, 5_242_880));
}

/// xenstored can be slow: what the hypervisor shows is read last.
#[test]
fn a_limit_set_by_another_program_while_xenstore_is_read_is_kept() {
    let is_read = |step: &Step| matches!(step, Step::Read(_));

    // By a rollback.
    let scene = Scene::new();
    let world = scene.world.clone();
    let mut is_committed = false;
    let hook = move |step: &Step| {
        if is_committed && is_read(step) {
            world.set_limit(5_242_880);
        }
        if *step == Step::Commit {
            is_committed = true;
            return Fail(Error::Unusable);
        }
        Proceed
    };
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert_eq!(failure.aftermath, rolled_back(5_242_880));
    assert_eq!(scene.numbers(), (START.0, START.1, 5_242_880));

    // By a recovery.
    let scene = Scene::new();
    drop(scene.stuck(set("512M")));
    let world = scene.world.clone();
    let manager = move || {
        world.set_limit(3_146_752);
        Proceed
    };
    let failure = scene.change(refused(), at(is_read, manager)).unwrap_err();
    assert_eq!(failure.recovery, Some(superseded(3_146_752)));
    assert_eq!(scene.numbers(), (START.0, START.1, 3_146_752));
}
