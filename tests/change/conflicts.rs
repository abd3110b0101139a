//! Writers without the lock, seen at the commit.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use xmem::domain::DomId;
use xmem::error::{After, Cause, Exit};
use xmem::host::Host as _;
use xmem::hypervisor::Hypervisor as _;
use xmem::size::Kib;
use xmem::xenstore::Xs as _;

use crate::watched::{Error, START, Scene, Step, Then, at, request, set, sim};

/// Writes without the lock, as a memory daemon does.
fn write(dir: &Path, node: &str, value: &str) {
    sim(dir).connect().unwrap().write(&format!("/local/domain/7/memory/{node}"), value).unwrap();
}

/// Somebody writes right before the first commit.
fn meanwhile(scene: &Scene, act: fn(PathBuf)) -> impl FnMut(&Step) -> Then + use<> {
    let dir = scene.path().to_owned();
    let act = move || {
        act(dir);
        Then::Go
    };
    at(|step| *step == Step::Commit, act)
}

#[test]
fn what_was_read_is_read_again() {
    let scene = Scene::new();
    let host = scene.host(meanwhile(&scene, |dir| write(&dir, "target", "786432")));
    let outcome = host.change(&request(&set("+256M"))).unwrap();
    // On top of theirs.
    assert_eq!(outcome.plan.old.target, Some(Kib(786_432)));
    assert_eq!(scene.numbers(), (1_048_576, 2_097_152, 1_049_600));
    let commits = host.steps().iter().filter(|step| **step == Step::Commit).count();
    assert_eq!(commits, 2);
    assert_eq!(scene.state().len(), 0);
}

/// The same value again is a change: its writer may have meant it.
#[test]
fn the_same_value_is_a_conflict() {
    let scene = Scene::new();
    let host = scene.host(meanwhile(&scene, |dir| write(&dir, "target", "1048576")));
    host.change(&request(&set("512M"))).unwrap();
    assert_eq!(host.steps().iter().filter(|step| **step == Step::Commit).count(), 2);
}

/// What was allowed when it was planned is checked again, and what was done is put back.
#[test]
fn a_change_that_is_refused_at_the_second_look_is_put_back() {
    let scene = Scene::new();
    let hook = meanwhile(&scene, |dir| write(&dir, "static-max", "1048576"));
    let failure = scene.change(&set("1536M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(_)), "{failure}");
    assert_eq!(failure.after, After::Unchanged);
    assert_eq!(scene.numbers(), (1_048_576, 1_048_576, 1_049_600));
    assert_eq!(scene.state().len(), 0);
}

#[test]
fn conflicts_without_end_are_given_up_and_put_back() {
    let scene = Scene::new();
    let dir = scene.path().to_owned();
    let host = scene.host(move |step| {
        if *step == Step::Commit {
            write(&dir, "target", "1048576");
        }
        Then::Go
    });
    let failure = host.change(&request(&set("512M"))).unwrap_err();
    assert_eq!(failure.exit(), Exit::Conflicts);
    assert_eq!(host.steps().iter().filter(|step| **step == Step::Commit).count(), 16);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state().len(), 0);
}

/// A memory daemon sets limit and target between our reading and our commit: what is put back must
/// not be less than its target needs.
#[test]
fn what_is_put_back_is_enough_for_another_writers_target() {
    let scene = Scene::new();
    let hook = meanwhile(&scene, |dir| {
        let limit = Kib(1_572_864 + 1024);
        sim(&dir).hypervisor().set_limit(DomId::new(7).unwrap(), limit).unwrap();
        write(&dir, "target", "1572864");
        write(&dir, "static-max", "1572864");
    });
    // Refused at the second look.
    let failure = scene.change(&set("1800M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(_)), "{failure}");
    let (target, _, limit) = scene.numbers();
    assert_eq!((target, limit), (1_572_864, 1_573_888));
}

/// The same, and the second try gets as far as the limit.
#[test]
fn what_is_put_back_after_a_conflict_is_what_was_left_by_it() {
    let scene = Scene::new();
    let dir = scene.path().to_owned();
    let mut commits = 0;
    let hook = move |step: &Step| {
        if *step == Step::Commit {
            commits += 1;
            write(&dir, "target", "1572864");
        }
        match step {
            Step::SetPod if commits == 1 => Then::Fail(Error::Xen(Errno::NOMEM)),
            _ => Then::Go,
        }
    };
    let failure = scene.change(&set("512M"), hook).unwrap_err();
    assert_eq!(failure.after, After::PutBack { limit: Kib(1_573_888) });
    assert_eq!(scene.numbers(), (1_572_864, 2_097_152, 1_573_888));
}
