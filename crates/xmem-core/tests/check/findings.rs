//! A check of a host.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use xen::userdata::{LOCK, Letter};
use xen::{Interrupt, Kib, NoInterrupt};
use xmem_core::check::check;
use xmem_core::diagnosis::Fix;
use xmem_core::failure::Cause;
use xmem_sim::{Call, Observer, Verdict, World};

use crate::scene::{Scene, refs, said, wanted};

#[test]
fn a_host_in_step_has_no_findings() {
    let report = Scene::new().check();
    assert_eq!(said(&report.findings), [""; 0]);
    assert_eq!((report.rows.len(), report.checked(), report.locked, report.building), (4, 4, 0, 0));
}

#[test]
fn a_locked_domain_and_one_being_built_are_counted_and_not_checked() {
    let scene = Scene::of(World::states());
    scene.edit(7, |web| web.limit_kib = Kib::from_mib(512));
    let lock = scene.lock(7);
    let report = scene.check();
    assert_eq!((report.locked, report.building), (1, 1));
    assert_eq!(report.checked(), report.rows.len() - 2);
    assert!(said(&report.findings).contains(&"web (7): locked".to_owned()));
    assert!(!report.findings.iter().any(|it| it.diagnosis.is_out_of_step()));
    drop(lock);
    assert!(said(&scene.check().findings).contains(&"web (7): limit-too-low".to_owned()));
}

#[test]
fn an_unusable_lock_is_out_of_step_for_a_named_domain_too() {
    let scene = Scene::new();
    let path = scene.file(scene.identity(7), Letter::Lock, LOCK);
    for make in [
        |path: &std::path::Path| fs::create_dir(path).unwrap(),
        |path: &std::path::Path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
    ] {
        make(&path);
        for report in [scene.check(), scene.check_named(&["web"])] {
            assert_eq!(said(&report.findings), ["web (7): unusable-lock"]);
            assert!(report.findings[0].diagnosis.is_out_of_step());
        }
        fs::remove_dir(&path).or_else(|_| fs::remove_file(&path)).unwrap();
    }
}

#[test]
fn a_domain_destroyed_during_the_check_is_not_a_finding() {
    let scene = Scene::new();
    let world = Arc::clone(&scene.world);
    // The second batch of reads finds nothing, and then the hypervisor has no such domain.
    let host = scene.host_that(move |call| {
        if matches!(call, Call::Read(_)) {
            world.lock().unwrap().remove("/local/domain/7");
        } else if matches!(call, Call::List(_) | Call::Domain(_)) {
            world.lock().unwrap().destroy(7);
        }
    });
    let report = check(&host, &[], &NoInterrupt).unwrap();
    assert_eq!(said(&report.findings), [""; 0]);
    assert_eq!(report.rows.len(), 3);
}

#[test]
fn a_finding_that_does_not_last_is_not_reported() {
    let scene = Scene::new();
    let world = Arc::clone(&scene.world);
    let lists = AtomicUsize::new(0);
    // Out of step until the first survey is over.
    scene.edit(7, |web| (web.balloon, web.current_kib) = (false, Kib::from_mib(512)));
    scene.edit(8, |db| db.limit_kib = Kib::from_mib(1024));
    scene.world().write("/local/domain/9/memory/videoram", "x");
    let host = scene.host_that(move |call| {
        if matches!(call, Call::List(_)) && lists.fetch_add(1, Ordering::Relaxed) == 3 {
            let mut world = world.lock().unwrap();
            world.domains.get_mut(&7).unwrap().current_kib = Kib::from_mib(1024);
            world.domains.get_mut(&8).unwrap().limit_kib = Kib::from_mib(2049);
            world.write("/local/domain/9/memory/videoram", "16384");
        }
    });
    let report = check(&host, &[], &NoInterrupt).unwrap();
    assert_eq!(said(&report.findings), [""; 0]);
}

#[test]
fn an_interrupt_ends_the_check() {
    struct Now;
    impl Interrupt for Now {
        fn pending(&self) -> bool {
            true
        }
        fn sleep(&self, _: Duration) -> bool {
            true
        }
    }
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = Kib(4));
    assert!(matches!(check(&scene.host(), &[], &Now), Err(Cause::Interrupted)));
}

#[test]
fn a_missing_domain_is_reported_beside_the_findings() {
    let scene = Scene::new();
    let report = scene.check_named(&["web", "nosuch"]);
    assert_eq!((wanted(&report.missing), report.rows.len()), (refs(&["nosuch"]), 1));
}

#[test]
fn a_guest_that_may_write_its_nodes_is_offered_no_repair() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = Kib::from_mib(512));
    let fix = |scene: &Scene| {
        let report = scene.check();
        report.findings[0].diagnosis.fix.clone()
    };
    let web = scene.identity(7).domid;
    assert_eq!(fix(&scene), Some(Fix::Repair(Some(web))));
    scene.edit(7, |web| web.owns_nodes = true);
    assert_eq!(fix(&scene), Some(Fix::SetSize(web)));
    // Nor a maximum as large as its own target.
    scene.world().write("/local/domain/7/memory/target", "6000000");
    assert_eq!(fix(&scene), Some(Fix::SetSize(web)));
    scene.edit(7, |web| web.owns_nodes = false);
    assert!(matches!(fix(&scene), Some(Fix::Choose { max: Some(_), .. })), "{:?}", fix(&scene));
    // A maximum above all of the host's memory would be refused.
    scene.world().write("/local/domain/7/memory/target", "90000000");
    assert!(matches!(fix(&scene), Some(Fix::Choose { max: None, .. })), "{:?}", fix(&scene));
}

#[test]
fn nodes_without_a_domain_are_orphans() {
    let scene = Scene::new();
    scene.world().write("/local/domain/33/memory/target", "524288");
    let report = scene.check();
    assert_eq!(said(&report.findings), ["domid 33: orphan-nodes"]);
    let nodes = "/local/domain/33".to_owned();
    assert_eq!(report.findings[0].diagnosis.fix, Some(Fix::RemoveNodes(nodes)));
    assert_eq!(said(&scene.check_named(&["web"]).findings), [""; 0]);
    // They may belong to a domain that is being created.
    scene.edit(7, |web| (web.paused, web.vcpus, web.cpu_time_ms) = (true, 0, 0));
    assert_eq!(said(&scene.check().findings), ["web (7): building"]);
}

#[test]
fn nodes_that_are_removed_during_the_check_are_no_orphans() {
    let scene = Scene::new();
    scene.world().write("/local/domain/33/memory/target", "524288");
    let world = Arc::clone(&scene.world);
    let host = scene.host_that(move |call| {
        if matches!(call, Call::Domains) && world.lock().unwrap().read("/seen").is_some() {
            world.lock().unwrap().remove("/local/domain/33");
        }
        if matches!(call, Call::List("/local/domain")) {
            world.lock().unwrap().write("/seen", "");
        }
    });
    assert_eq!(said(&check(&host, &[], &NoInterrupt).unwrap().findings), [""; 0]);
}

#[test]
fn a_host_with_too_many_domains_to_list_is_reported() {
    let scene = Scene::new();
    let refuse = |call: &Call<'_>| match call {
        Call::List("/local/domain") => {
            Verdict::Fail(xmem_sim::Failure::Answer(xen::xenstore::Answer::TooBig))
        }
        _ => Verdict::Proceed,
    };
    let host = scene.host().observed_by(Arc::new(refuse) as Arc<dyn Observer>);
    let report = check(&host, &[], &NoInterrupt).unwrap();
    assert_eq!(said(&report.findings), ["host: not-listed"]);
}

#[test]
fn a_state_directory_that_cannot_be_read_is_an_error() {
    let scene = Scene::new();
    fs::remove_dir(scene.state_dir()).unwrap();
    assert_eq!(said(&scene.check().findings), [""; 0]);
    fs::write(scene.state_dir(), "").unwrap();
    for names in [&[][..], &["web"]] {
        let error = check(&scene.host(), &refs(names), &NoInterrupt).unwrap_err();
        assert!(matches!(error, Cause::StateDir { .. }), "{error}");
    }
    fs::remove_file(scene.state_dir()).unwrap();
}
