//! Domids that are reused, and domains that go away during a change.

use rustix::io::Errno;
use xen::{DomId, Identity, Uuid};
use xmem_core::change::ChangeRequest;
use xmem_core::domain::{Domain, DomainRef, Name};
use xmem_core::failure::{Aftermath, Cause};
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::{Fail, Proceed};

use crate::scene::{START, Scene, Shared, Step, WEB, before_commit, request, set};

/// Changes the world during the wait for the lock: after the domain was found, and before it is asked for again under
/// the lock.
fn during_the_wait(
    scene: &Scene,
    act: fn(&Shared),
) -> impl FnMut(&Step) -> xmem_sim::Verdict + Send + 'static {
    let world = scene.world.clone();
    let mut looks = 0;
    move |step| {
        looks += usize::from(*step == Step::Domain);
        if *step == Step::Domain && looks == 2 {
            act(&world);
        }
        Proceed
    }
}

#[test]
fn a_new_domain_with_the_same_domid_is_not_touched() {
    let scene = Scene::new();
    let hook = during_the_wait(&scene, |world| world.web(|web| web.uuid = Uuid::from_u128(0xaa)));
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
}

/// The name in xenstore is that of the new one.
#[test]
fn a_failure_does_not_name_the_domain_that_took_over_the_domid() {
    let known = Identity { domid: DomId::new(7).unwrap(), uuid: WEB.parse().unwrap() };
    let known = Domain { identity: known, name: Some(Name("web".to_owned())) };
    for (wanted, named) in [("7".parse().unwrap(), "domain 7"), (DomainRef::Same(known), "web (7)")]
    {
        let scene = Scene::new();
        let hook = during_the_wait(&scene, |world| {
            world.web(|web| web.uuid = Uuid::from_u128(0xaa));
            world.edit(|world| world.write("/local/domain/7/name", "other"));
        });
        let request = ChangeRequest { domain: wanted, ..request(set("512M")) };
        let failure = scene.host(hook).change(&request).unwrap_err();
        assert_eq!(failure.to_string(), format!("{named}: the domain went away; nothing changed"));
    }
}

#[test]
fn a_domain_that_begins_to_die_is_not_touched() {
    let scene = Scene::new();
    let hook = during_the_wait(&scene, |world| world.web(|web| web.dying = true));
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Dying), "{failure}");
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
}

/// Without nodes it looks like a domain being built, but it had a name when the change began.
#[test]
fn a_domain_that_never_ran_and_loses_its_nodes_is_gone() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let hook = before_commit(move || {
        world.edit(|world| world.remove("/local/domain/7"));
        world.web(|web| (web.paused, web.cpu_time_ms) = (true, 0));
    });
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!(scene.files().len(), 0);
}

/// `xl destroy` removes the nodes before it takes the lock.
#[test]
fn nodes_removed_before_the_commit_are_not_created_anew() {
    let scene = Scene::new();
    let world = scene.world.clone();
    let hook = before_commit(move || {
        world.edit(|world| {
            world.remove("/local/domain/7");
            world.remove(&format!("/vm/{WEB}"));
        });
    });
    let failure = scene.change(set("512M"), hook).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!(failure.aftermath, Aftermath::Unchanged);
    scene.world.edit(|world| {
        let is_left = |path: &str| path.starts_with("/local/domain/7/") || path.contains("0007");
        assert!(!world.xenstore.keys().any(|path| is_left(path)));
        assert_eq!(world.domains[&7].limit_kib.0, START.2);
    });
    assert_eq!(scene.files().len(), 0);
}

/// Its limit needs no rollback.
#[test]
fn a_domain_that_vanishes_during_the_change_is_gone() {
    for vanishing in [Step::SetLimit(525_312), Step::SetPod(525_312)] {
        let scene = Scene::new();
        let mut gone = false;
        let failure = scene
            .change(set("512M"), move |step| {
                gone = gone || *step == vanishing;
                if gone { Fail(Error::Errno(Errno::SRCH)) } else { Proceed }
            })
            .unwrap_err();
        assert!(matches!(failure.cause, Cause::Gone), "{failure}");
        assert_eq!(scene.files().len(), 0);
    }
}

/// A domain that the user mistyped is unknown instead.
#[test]
fn a_domain_found_earlier_that_no_longer_exists_is_gone() {
    let scene = Scene::new();
    let identity = Identity { domid: DomId::new(7).unwrap(), uuid: Uuid::from_u128(0xaa) };
    let known = Domain::from(identity);
    let request = ChangeRequest { domain: DomainRef::Same(known), ..request(set("512M")) };
    let failure = scene.calm().change(&request).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!(failure.domain.unwrap().identity, identity);
    let request = ChangeRequest { domain: "8".parse().unwrap(), ..request };
    let failure = scene.calm().change(&request).unwrap_err();
    assert!(matches!(failure.cause, Cause::Resolve(_)), "{failure}");
}

#[test]
fn a_failure_names_the_domain() {
    let scene = Scene::new();
    let hook = |step: &Step| match step {
        Step::Begin => Fail(crate::scene::answers("EIO")),
        _ => Proceed,
    };
    let failure = scene.change(set("512M"), hook).unwrap_err().to_string();
    assert!(
        failure.starts_with("web (7): ") && failure.ends_with("; nothing changed"),
        "{failure}"
    );
}
