//! Actions of other programs that end a wait.

use std::time::Duration;

use xen::hypervisor::Shutdown;
use xen::{DomId, Kib};
use xmem_core::wait::WaitEnd;
use xmem_sim::World;

use crate::scene::{POLICY, Scene, Waited};

const TARGET: &str = "/local/domain/7/memory/target";

/// A wait for `web`, with `act` done during the third sleep.
fn meanwhile(act: impl Fn(&mut World)) -> Waited {
    let scene = Scene::new();
    scene.edit(7, |web| web.rate_kib_per_second = Kib::from_mib(1));
    let outcome = scene.set(7, "512M");
    let mut sleeps = 0;
    scene.wait_for(&outcome, POLICY, |_| {
        sleeps += 1;
        if sleeps == 3 {
            act(&mut scene.world());
        }
        assert!(sleeps <= 60, "it goes on");
        false
    })
}

fn create(world: &mut World, domid: u16, name: &str) {
    let size = Kib::from_mib(512);
    world.create(domid, name, xmem_sim::GuestType::Pvh, size, size, 0);
}

#[test]
fn another_target_ends_the_wait_wherever_the_guest_is() {
    for current in [1024, 512] {
        let waited = meanwhile(|world| {
            world.write(TARGET, "716800");
            world.domains.get_mut(&7).unwrap().current_kib = Kib::from_mib(current);
        });
        let end = &waited.report.end;
        assert!(matches!(end, WaitEnd::TargetChanged { now: Some(Kib(716_800)) }), "{end:?}");
        assert!(
            waited.report.to_string().starts_with(
                "another program changed the target from 512 MiB to 700 MiB; the guest has "
            ),
            "{}",
            waited.report
        );
    }
}

#[test]
fn the_same_target_written_again_does_not_end_the_wait() {
    let waited = meanwhile(|world| {
        world.write(TARGET, "524288");
        world.domains.get_mut(&7).unwrap().rate_kib_per_second = Kib::from_mib(256);
    });
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
}

#[test]
fn the_nudge_of_another_xmem_does_not_end_the_wait() {
    let waited = meanwhile(|world| {
        world.write(TARGET, "524284");
        world.domains.get_mut(&7).unwrap().rate_kib_per_second = Kib::from_mib(256);
    });
    assert!(matches!(waited.report.end, WaitEnd::Reached), "{:?}", waited.report);
}

#[test]
fn a_removed_target_and_a_malformed_target_end_the_wait() {
    let removed = meanwhile(|world| world.remove(TARGET));
    assert!(matches!(removed.report.end, WaitEnd::TargetChanged { now: None }));
    let bad = meanwhile(|world| world.write(TARGET, "much"));
    assert!(matches!(bad.report.end, WaitEnd::Unreachable(_)), "{:?}", bad.report);
}

#[test]
fn a_domain_that_goes_away_ends_the_wait() {
    let ways: [fn(&mut World); 4] = [
        |world| world.destroy(7),
        |world| world.domains.get_mut(&7).unwrap().dying = true,
        // The domid belongs to another domain now.
        |world| world.domains.get_mut(&7).unwrap().uuid = xen::Uuid::from_u128(99),
        // The first step of `xl destroy`.
        |world| world.remove("/local/domain/7"),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let waited = meanwhile(way);
        let end = &waited.report.end;
        // The dead domain still has the name.
        let successor = (number == 2).then(|| DomId::new(7).unwrap());
        assert!(
            matches!(end, WaitEnd::Gone { successor: it } if *it == successor),
            "{number}: {end:?}"
        );
        assert!(waited.report.took < Duration::from_secs(5), "{:?}", waited.report);
    }
}

#[test]
fn a_domain_that_returns_with_its_name_or_uuid_is_reported_with_its_new_domid() {
    let by_name = meanwhile(|world| {
        world.destroy(7);
        create(world, 12, "web");
    });
    let by_uuid = meanwhile(|world| {
        let uuid = world.domains[&7].uuid;
        world.destroy(7);
        create(world, 12, "renamed");
        world.domains.get_mut(&12).unwrap().uuid = uuid;
    });
    for waited in [by_name, by_uuid] {
        let end = &waited.report.end;
        assert!(matches!(end, WaitEnd::Gone { successor: Some(it) } if it.get() == 12), "{end:?}");
        assert_eq!(
            waited.report.to_string(),
            "the domain went away before its guest reached the target; it is back as domain 12"
        );
    }
}

/// The new domain appears some seconds after the old one is gone.
#[test]
fn a_reboot_is_followed_to_its_new_domain() {
    let scene = Scene::new();
    let outcome = scene.set(7, "512M");
    let waited = scene.wait_for(&outcome, POLICY, |now| {
        let mut world = scene.world();
        match now.as_millis() {
            0..=100 => {
                world.domains.get_mut(&7).unwrap().shutdown = Some(Shutdown::Reboot);
                world.domains.get_mut(&7).unwrap().balloon = false;
            }
            500..=700 => world.destroy(7),
            4000.. if !world.domains.contains_key(&12) => create(&mut world, 12, "web"),
            _ => {}
        }
        false
    });
    let end = &waited.report.end;
    assert!(matches!(end, WaitEnd::Gone { successor: Some(it) } if it.get() == 12), "{end:?}");
}
