use proptest::prelude::*;
use xen::hypervisor::Shutdown;
use xen::{Host as _, Kib};

use super::{TARGET, dom, host, host_in, in_memory, read, set_target};
use crate::balloon::{advance, step};
use crate::{SimDomain, World};

const NAME: &str = "/local/domain/7/name";

fn web(world: &mut World) -> &mut SimDomain {
    world.domains.get_mut(&7).unwrap()
}

fn look(world: &mut World, now_ms: u64) -> Kib {
    advance(world, now_ms, world.free());
    web(world).current_kib
}

/// A world in which `web` is set at 1000 ms from 1024 MiB to `mib`, with room for it.
fn with_target(mib: u64) -> World {
    let mut world = World::start();
    web(&mut world).limit_kib = Kib::from_mib(4096);
    world.write(TARGET, &Kib::from_mib(mib).0.to_string());
    assert_eq!(look(&mut world, 1000), Kib::from_mib(1024));
    world
}

#[test]
fn a_balloon_moves_evenly_and_stops_at_its_target() {
    for (mib, after_1_s, after_2_s) in [(512, 768, 512), (1536, 1280, 1536)] {
        let mut world = with_target(mib);
        assert_eq!(look(&mut world, 2000), Kib::from_mib(after_1_s));
        assert_eq!(look(&mut world, 3000), Kib::from_mib(after_2_s));
        assert_eq!(look(&mut world, 99_000), Kib::from_mib(after_2_s));
    }
}

#[test]
fn reading_a_world_at_rest_does_not_change_it() {
    for start in [World::start(), World::states()] {
        let mut world = start.clone();
        let free = world.free();
        advance(&mut world, 1_000_000, free);
        assert_eq!(world, start);
    }
}

#[test]
fn frequent_reads_slow_no_balloon_down() {
    let mut world = with_target(512);
    web(&mut world).rate_kib_per_second = Kib(40);
    for now_ms in 1000..=11_000 {
        look(&mut world, now_ms);
    }
    assert_eq!(web(&mut world).current_kib, Kib(1_048_576 - 400));
}

#[test]
fn video_memory_is_added_to_the_target() {
    for (target, videoram, current) in [
        ("524288", Some("16384"), 540_672),
        ("524288", None, 524_288),
        ("524289", Some("-1"), 524_288),
        ("524291", Some("what"), 524_288),
        ("what", Some("0"), 1_048_576),
        ("0", Some("-1"), 1_048_576),
    ] {
        let mut world = World::start();
        web(&mut world).rate_kib_per_second = Kib(u64::MAX);
        world.remove("/local/domain/7/memory/videoram");
        world.write(TARGET, target);
        if let Some(value) = videoram {
            world.write("/local/domain/7/memory/videoram", value);
        }
        assert_eq!(look(&mut world, 0), Kib(current), "{target} {videoram:?}");
    }
}

#[test]
fn a_guest_that_does_not_run_does_not_balloon() {
    let stops: [fn(&mut SimDomain); 9] = [
        |domain| domain.paused = true,
        |domain| domain.dying = true,
        |domain| domain.shutdown = Some(Shutdown::PowerOff),
        |domain| domain.shutdown = Some(Shutdown::Suspend),
        |domain| domain.shutdown = Some(Shutdown::Crash),
        |domain| domain.vcpus = 0,
        |domain| domain.balloon = false,
        |domain| domain.rate_kib_per_second = Kib(0),
        |domain| domain.rate_kib_per_second = Kib(3),
    ];
    for stop in stops {
        let mut world = with_target(512);
        stop(web(&mut world));
        assert_eq!(look(&mut world, 9000), Kib::from_mib(1024));
    }
}

#[test]
fn on_a_full_host_balloons_only_shrink() {
    for (mib, reached) in [(2048, 1024), (512, 512)] {
        let mut world = with_target(mib);
        advance(&mut world, 9000, Kib(0));
        assert_eq!(web(&mut world).current_kib, Kib::from_mib(reached));
    }
}

#[test]
fn time_spent_at_the_limit_moves_no_balloon() {
    let mut world = with_target(1536);
    web(&mut world).limit_kib = Kib::from_mib(1024);
    assert_eq!(look(&mut world, 50_000), Kib::from_mib(1024));
    web(&mut world).limit_kib = Kib::from_mib(4096);
    look(&mut world, 50_000);
    assert_eq!(look(&mut world, 50_500), Kib::from_mib(1152));
}

#[test]
fn a_clock_set_back_stops_no_balloon() {
    let mut world = with_target(512);
    look(&mut world, 400);
    assert_eq!(look(&mut world, 1400), Kib::from_mib(768));
}

#[test]
fn a_guest_takes_what_another_gives_back_and_claimed_memory_stays() {
    let mut world = with_target(2048);
    world.memory_kib = Kib::from_mib(7 * 1024);
    assert_eq!(world.free(), Kib(0));
    world.write("/local/domain/8/memory/target", "1048576");
    for now_ms in (1000..=2000).step_by(10) {
        look(&mut world, now_ms);
    }
    let grown = web(&mut world).current_kib;
    assert!(grown > Kib::from_mib(1024 + 250) && grown <= Kib::from_mib(1024 + 256), "{grown}");
    assert_eq!(look(&mut world, 9000), Kib::from_mib(2048));
    assert_eq!(world.free(), Kib(0));

    let mut world = with_target(2048);
    world.domains.get_mut(&8).unwrap().outstanding_kib = Kib::from_mib(9 * 1024 - 100);
    assert_eq!(look(&mut world, 9000), Kib::from_mib(1124));
}

#[test]
fn dom0s_own_target_holds_until_xenstore_is_written() {
    let (world, host) = in_memory(World::start());
    assert_eq!(host.dom0().balloon_target, Some(Kib::from_mib(2048)));
    assert_eq!((host.dom0().kernel, host.dom0().direct_mapped), (Some((6, 12)), false));
    world.lock().unwrap().dom0.balloon_target_kib = Some(Kib::from_mib(1024));
    world.lock().unwrap().domains.get_mut(&0).unwrap().rate_kib_per_second = Kib(u64::MAX);
    let current = || host.hypervisor().domain(dom(0)).unwrap().unwrap().current;
    assert_eq!(
        (current(), host.dom0().balloon_target),
        (Kib::from_mib(1024), Some(Kib::from_mib(1024)))
    );
    super::connect(&host).write_each(&[("/local/domain/0/memory/target", "1572864")]).unwrap();
    assert_eq!(
        (current(), host.dom0().balloon_target),
        (Kib::from_mib(1536), Some(Kib::from_mib(1536)))
    );
}

#[test]
fn balloons_move_while_no_process_reads() {
    let (dir, first) = host("");
    set_target(&first, "524288").unwrap();
    drop(first);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let second = host_in(dir.path(), "");
    let current = second.hypervisor().domain(dom(7)).unwrap().unwrap().current;
    assert!(current <= Kib::from_mib(1024 - 25), "{current}");
    let ignoring = host_in(dir.path(), "guest-ignores");
    let current = || ignoring.hypervisor().domain(dom(7)).unwrap().unwrap().current;
    assert_eq!(current(), current());
    assert_eq!(read(&ignoring, NAME).unwrap(), "web");
}

#[test]
fn a_test_can_set_the_clock() {
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(5000));
    let (_world, host) = in_memory(World::start());
    let host = host.with_clock({
        let now = std::sync::Arc::clone(&now);
        move || now.load(std::sync::atomic::Ordering::Relaxed)
    });
    set_target(&host, "524288").unwrap();
    now.store(6000, std::sync::atomic::Ordering::Relaxed);
    let current = host.hypervisor().domain(dom(7)).unwrap().unwrap().current;
    assert_eq!(current, Kib::from_mib(768));
}

proptest! {
    #[test]
    fn a_step_never_overshoots(current in 0..1u64 << 40, reach in 0..1u64 << 40, rate in 4..1u64 << 30, ms in 0..100_000u64) {
        let (current, reach) = (Kib::from_pages(current), Kib::from_pages(reach));
        let (now, used) = step(current, reach, Kib(rate), ms);
        let way = |kib: Kib| kib.0.abs_diff(current.0);
        prop_assert!(way(now) <= way(reach) && used <= ms);
        prop_assert_eq!(now.0 % 4, 0);
        // Less than a page, and the progress of one millisecond, may remain for the next step.
        let way_of_all = u128::from(rate).saturating_mul(ms.into()) / 1000;
        let rest = way_of_all.saturating_sub(way(now).into());
        prop_assert!(now == reach || rest <= u128::from(rate / 1000).saturating_add(8));
    }

    #[test]
    fn a_step_never_panics(current: u64, reach: u64, rate: u64, ms: u64) {
        step(Kib(current), Kib(reach), Kib(rate), ms);
    }
}
