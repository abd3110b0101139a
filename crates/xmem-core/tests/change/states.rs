//! The state of a domain decides whether it can be changed, and with which notes.

use std::fs;

use xen::hypervisor::Shutdown;
use xen::{DomId, Kib};
use xmem_core::change::{ChangeRequest, KeepFree};
use xmem_core::failure::{Aftermath, Cause};
use xmem_core::memory::Manager;
use xmem_core::plan::{MemoryRequest, Note, Refusal};
use xmem_core::state::State;
use xmem_sim::GuestType;

use crate::scene::{START, Scene, WEB, max, request, set};

fn is_building(cause: &Cause) -> bool {
    matches!(cause, Cause::State(State::Building))
}

/// A domain that has never run.
fn new_domain() -> Scene {
    let scene = Scene::new();
    scene.world.web(|web| (web.paused, web.cpu_time_ms) = (true, 0));
    scene
}

#[test]
fn a_domain_being_built_is_refused_whatever_it_has_so_far() {
    let without_processors = new_domain();
    without_processors.world.web(|web| web.vcpus = 0);
    let without_target = new_domain();
    without_target.world.edit(|world| world.remove("/local/domain/7/memory/target"));
    let without_nodes = new_domain();
    without_nodes.world.edit(|world| world.remove("/local/domain/7"));
    // Only libxl's last file is missing.
    for scene in [without_processors, without_target, without_nodes, new_domain()] {
        for memory in [set("512M"), max("4G"), MemoryRequest::Repair] {
            let failure = scene.plain(memory).unwrap_err();
            assert!(is_building(&failure.cause), "{failure}");
            assert_eq!(failure.cause.kind(), "domain-building");
            assert_eq!(failure.aftermath, Aftermath::Unchanged);
            let words = "the domain is being created, restored or migrated here; nothing changed";
            assert!(failure.to_string().ends_with(words), "{failure}");
            assert_eq!(scene.files().len(), 0);
        }
    }
}

/// By `xl create -p`.
#[test]
fn a_domain_created_paused_can_be_set() {
    let scene = new_domain();
    fs::write(scene.dir().join(format!("userdata-d.7.{WEB}.libxl-json")), "").unwrap();
    let outcome = scene.plain(set("512M")).unwrap();
    assert_eq!(outcome.state, State::Paused);
    assert_eq!(outcome.plan.notes, [Note::Paused { current: Kib(START.0) }]);
    assert_eq!(scene.numbers().0, 524_288);
}

#[test]
fn a_domain_without_nodes_that_has_run_is_gone() {
    let scene = Scene::new();
    scene.world.edit(|world| world.remove("/local/domain/7"));
    let failure = scene.plain(set("512M")).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
}

#[test]
fn a_stopped_domain_is_set_with_a_note() {
    for (reason, state, note) in [
        (Shutdown::PowerOff, State::ShutDown, Note::Stopped(State::ShutDown)),
        (Shutdown::Crash, State::Crashed, Note::Stopped(State::Crashed)),
        (Shutdown::Suspend, State::Suspended, Note::Suspended),
    ] {
        let scene = Scene::new();
        scene.world.web(|web| web.shutdown = Some(reason));
        let outcome = scene.plain(set("512M")).unwrap();
        assert_eq!((outcome.state, &outcome.plan.notes[..]), (state, &[note][..]));
        assert_eq!(scene.numbers().0, 524_288);
    }
}

/// This is known only if the domain was given by name, which reads all names.
#[test]
fn a_domain_being_migrated_here_is_set_with_a_note() {
    let scene = Scene::new();
    scene.world.edit(|world| {
        world.create(9, "web--incoming", GuestType::Pvh, Kib(4), Kib(4), 0);
    });
    let by_name = ChangeRequest { domain: "web".parse().unwrap(), ..request(set("512M")) };
    let outcome = scene.calm().change(&by_name).unwrap();
    assert_eq!(outcome.plan.notes, [Note::Migrating { to: DomId::new(9).unwrap() }]);
    assert_eq!(scene.plain(set("1G")).unwrap().plan.notes, []);
}

#[test]
fn a_managed_domain_is_set_with_a_note() {
    let scene = Scene::new();
    scene.world.write("hotplug-max", 1);
    let outcome = scene.plain(set("512M")).unwrap();
    assert_eq!(outcome.plan.notes, [Note::Managed(Manager::Qmemman)]);
}

#[test]
fn what_the_host_knows_of_a_domain_can_refuse_a_change() {
    let device_model = Scene::new();
    device_model.world.edit(|world| world.write("/local/domain/7/target", "9"));
    let populating = Scene::new();
    populating.world.web(|web| (web.pod_cache_kib, web.pod_entries_kib) = (Kib(8), Kib(12)));
    let of = DomId::new(9).unwrap();
    for (scene, reason) in [
        (device_model, Refusal::DeviceModel { of }),
        (populating, Refusal::Populating { outstanding: Kib(4) }),
    ] {
        let failure = scene.plain(set("512M")).unwrap_err();
        let Cause::Refused(refusal) = &failure.cause else { panic!("{failure}") };
        assert_eq!((refusal, scene.numbers()), (&reason, START));
        scene.plain(set("1536M")).unwrap();
    }
    let scene = Scene::new();
    let size = Kib::from_mib(15 * 1024 - 511);
    let keep_free = Some(KeepFree { size, counts_granted: false });
    let kept = ChangeRequest { keep_free, ..request(set("1536M")) };
    let failure = scene.calm().change(&kept).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(Refusal::KeepFree { .. })), "{failure}");
    let scene = Scene::new();
    let failure = scene.plain(crate::scene::raise("17G")).unwrap_err();
    assert!(matches!(failure.cause, Cause::Refused(Refusal::AboveHost { .. })), "{failure}");
}

/// dom0's driver would misread its first target. Without one, the missing nodes do no harm.
#[test]
fn a_pvh_dom0_with_an_old_kernel_gets_no_first_target() {
    let scene = Scene::new();
    scene.world.edit(|world| {
        world.create(0, "Domain-0", GuestType::Pvh, Kib::from_mib(2048), Kib::from_mib(4096), 0);
        world.remove("/local/domain/0/memory/target");
        world.dom0.kernel = Some((6, 14));
    });
    for memory in [set("1G"), MemoryRequest::Repair] {
        let dom0 = ChangeRequest { domain: "0".parse().unwrap(), ..request(memory) };
        let failure = scene.calm().change(&dom0).unwrap_err();
        let refusal = Refusal::Dom0Kernel { kernel: Some((6, 14)) };
        assert!(matches!(&failure.cause, Cause::Refused(it) if *it == refusal), "{failure}");
    }
    scene.world.edit(|world| world.dom0.kernel = Some((6, 15)));
    let dom0 = ChangeRequest { domain: "0".parse().unwrap(), ..request(set("1G")) };
    scene.calm().change(&dom0).unwrap();
}
