//! A domid is used again; a domain that has gone is left alone.

use rustix::io::Errno;
use serde_json::Value;
use xmem::error::{After, Cause, Exit};
use xmem::host::Host as _;
use xmem::xenstore::Xs as _;

use crate::watched::{Error, START, Scene, Step, Then, edit, set, sim};

/// Changes the world while the lock is waited for: between the look that found the domain and the
/// first look under its lock.
fn while_the_lock_is_waited_for(
    scene: &Scene,
    by: fn(&mut Value),
) -> impl FnMut(&Step) -> Then + use<> {
    let dir = scene.path().to_owned();
    move |step| {
        if *step == Step::Look {
            edit(&dir, by);
        }
        Then::Go
    }
}

#[test]
fn another_domain_with_the_same_domid_is_not_touched() {
    let scene = Scene::new();
    let hook = while_the_lock_is_waited_for(&scene, |world| {
        world["domains"]["7"]["uuid"] = "00000000-0000-4000-8000-0000000000aa".into();
    });
    let failure = scene.change(&set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!((failure.after.clone(), failure.exit()), (After::Unchanged, Exit::NoDomain));
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state().len(), 0);
}

#[test]
fn a_domain_that_began_to_die_is_not_touched() {
    let scene = Scene::new();
    let hook = while_the_lock_is_waited_for(&scene, |world| {
        world["domains"]["7"]["dying"] = true.into();
    });
    let failure = scene.change(&set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state().len(), 0);
}

/// `xl destroy` removes the nodes before it takes the lock: nothing may make them anew.
#[test]
fn nodes_that_go_before_the_commit_are_not_made_anew() {
    let scene = Scene::new();
    let dir = scene.path().to_owned();
    let hook = move |step: &Step| {
        if *step == Step::Commit {
            let store = sim(&dir).connect().unwrap();
            store.rm("/local/domain/7").unwrap();
            store.rm(&format!("/vm/{}", crate::watched::WEB)).unwrap();
        }
        Then::Go
    };
    let failure = scene.change(&set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    let world = scene.world();
    let mut nodes = world["xenstore"].as_object().unwrap().keys();
    assert!(!nodes.any(|path| path.starts_with("/local/domain/7/") || path.contains("0007")));
    assert_eq!(world["domains"]["7"]["limit_kib"], START.2);
    assert_eq!(scene.state().len(), 0);
}

/// Gone in the middle: what is gone needs no limit.
#[test]
fn a_domain_that_vanishes_under_way_is_gone() {
    for vanishing in [Step::SetLimit(525_312), Step::SetPod] {
        let scene = Scene::new();
        let mut gone = false;
        let failure = scene
            .change(&set("512M"), move |step| {
                gone = gone || *step == vanishing;
                if gone { Then::Fail(Error::Xen(Errno::SRCH)) } else { Then::Go }
            })
            .unwrap_err();
        assert!(matches!(failure.cause, Cause::Gone), "{failure}");
        assert_eq!(failure.exit(), Exit::NoDomain);
        assert_eq!(scene.state().len(), 0);
    }
}
