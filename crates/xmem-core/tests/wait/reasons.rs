//! The reasons why a guest does not reach its target.

use xen::Kib;
use xmem_core::wait::{WaitEnd, WaitReason};
use xmem_sim::{SimDomain, World};

use crate::scene::{POLICY, Scene};

/// The reasons and the sentence for `domid`, which is set to `size` and then edited.
fn stuck(domid: u16, size: &str, edit: impl FnOnce(&mut World)) -> (Vec<WaitReason>, String) {
    let scene = Scene::new();
    let outcome = scene.set(domid, size);
    edit(&mut scene.world());
    let report = scene.wait(&outcome, POLICY).report;
    assert!(matches!(report.end, WaitEnd::Stuck), "{report:?}");
    let text = report.to_string();
    (report.reasons, text)
}

fn web(world: &mut World) -> &mut SimDomain {
    world.domains.get_mut(&7).unwrap()
}

#[test]
fn a_limit_below_the_target_is_the_reason() {
    let (reasons, text) = stuck(7, "2G", |world| web(world).limit_kib = Kib::from_mib(1024));
    assert_eq!(reasons, [WaitReason::Limit(Kib::from_mib(1024))]);
    assert!(text.ends_with("; its limit is only 1024 MiB"), "{text}");
}

#[test]
fn a_host_without_enough_free_memory_is_the_reason() {
    let leave = |mib: u64| {
        move |world: &mut World| {
            web(world).balloon = false;
            let used: u64 = world.domains.values().map(|it| it.current_kib.0).sum();
            world.memory_kib = Kib(used + Kib::from_mib(mib).0);
        }
    };
    let needs = Kib::from_mib(1024);
    let (reasons, text) = stuck(7, "2G", leave(100));
    assert_eq!(reasons, [WaitReason::HostShort { needs, available: Kib::from_mib(100) }]);
    assert!(
        text.ends_with("; it needs 1024 MiB more, but the host has only 100 MiB free"),
        "{text}"
    );
    let (_, text) = stuck(7, "2G", leave(0));
    assert!(text.ends_with("; it needs 1024 MiB more, but the host has none free"), "{text}");
    // A guest that has to shrink needs none.
    let (reasons, _) = stuck(7, "512M", leave(0));
    assert_eq!(reasons, [WaitReason::NoDriver]);
}

#[test]
fn a_guest_that_stalls_on_the_way_needs_its_memory_or_has_no_room() {
    // Its balloon driver gives up.
    let halfway = |world: &mut World, mib: u64| {
        (web(world).balloon, web(world).current_kib) = (false, Kib::from_mib(mib));
    };
    let (reasons, text) = stuck(7, "512M", |world| halfway(world, 700));
    assert_eq!(reasons, [WaitReason::GuestNeedsMemory]);
    assert_eq!(
        text,
        "the target is set, but the guest has 700 MiB instead of 512 MiB and has made no progress for 30 s; \
         it seems unable to free more"
    );
    let (reasons, text) = stuck(7, "2G", |world| halfway(world, 1500));
    assert_eq!(reasons, [WaitReason::NoHotplug]);
    assert!(text.ends_with("; it is not growing"), "{text}");
}

#[test]
fn dom0s_own_target_in_sysfs_is_the_reason() {
    let (reasons, text) = stuck(0, "1G", |world| {
        world.dom0.balloon_target_kib = Some(Kib::from_mib(1536));
    });
    assert_eq!(reasons, [WaitReason::Dom0Sysfs(Kib::from_mib(1536))]);
    assert!(
        text.ends_with("; dom0's own target is 1536 MiB, set in its sysfs (xen_memory0/target_kb)"),
        "{text}"
    );
}

#[test]
fn a_dom0_that_is_mapped_1_to_1_keeps_its_pages() {
    let (reasons, text) = stuck(0, "1G", |world| {
        world.dom0.direct_mapped = true;
        world.domains.get_mut(&0).unwrap().balloon = false;
    });
    assert_eq!(reasons, [WaitReason::DirectMapped]);
    assert!(text.contains("mapped 1:1"), "{text}");
}

#[test]
fn every_reason_has_its_own_name() {
    use xmem_core::state::State;
    let kib = Kib(4);
    let words: Vec<_> = [
        WaitReason::State(State::Paused),
        WaitReason::State(State::Suspended),
        WaitReason::State(State::ShutDown),
        WaitReason::State(State::Crashed),
        WaitReason::State(State::Building),
        WaitReason::Limit(kib),
        WaitReason::HostShort { needs: kib, available: kib },
        WaitReason::NoDriver,
        WaitReason::GuestNeedsMemory,
        WaitReason::NoHotplug,
        WaitReason::Dom0Sysfs(kib),
        WaitReason::DirectMapped,
    ]
    .iter()
    .map(WaitReason::word)
    .collect();
    assert_eq!(
        words,
        [
            "paused",
            "suspended",
            "shut-down",
            "crashed",
            "building",
            "limit",
            "host-short",
            "no-driver",
            "guest-needs-memory",
            "no-hotplug",
            "dom0-sysfs",
            "direct-mapped"
        ]
    );
}
