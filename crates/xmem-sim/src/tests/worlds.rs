use xen::hypervisor::{Shutdown, UNLIMITED};
use xen::{Host as _, Kib};

use super::{dom, host_in, in_memory};
use crate::{GuestType, SimHost, StartWorld, World};

fn open(text: &str) -> Result<World, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("world.json"), text).unwrap();
    let host =
        SimHost::open_with(Some(dir.path()), StartWorld::Start, "guest-ignores".parse().unwrap());
    let look = |host: SimHost| host.with_world(|world| world.clone());
    host.and_then(look).map_err(|error| {
        use std::error::Error as _;
        assert!(!error.is_usage(), "{error}");
        let hint = error.hint().unwrap();
        assert_eq!(hint, "correct the file, or choose another directory: --host sim:DIR");
        format!("{error}: {}", error.source().unwrap())
    })
}

#[test]
fn the_start_world_is_in_step() {
    let world = World::start();
    assert_eq!(world.free(), Kib::from_mib(9 * 1024));
    assert_eq!(world.domains.keys().copied().collect::<Vec<_>>(), [0, 7, 8, 9]);
    for (domid, domain) in &world.domains {
        let node = |name: &str| -> Option<u64> {
            world.read(&format!("/local/domain/{domid}/{name}"))?.parse().ok()
        };
        let target = node("memory/target").unwrap();
        let videoram = node("memory/videoram").unwrap_or(0);
        assert_eq!(node("domid"), Some((*domid).into()));
        assert_eq!(domain.current_kib, Kib(target + videoram), "{domid}");
        assert!(target <= node("memory/static-max").unwrap(), "{domid}");
        let limit = if *domid == 0 { UNLIMITED } else { Kib(target + videoram + 1024) };
        assert_eq!(domain.limit_kib, limit, "{domid}");
    }
    assert_eq!(world.read("/local/domain/9/memory/videoram"), Some("16384"));
    assert_eq!(world.read("/libxl/7/type"), Some("pvh"));
    assert_eq!(world.domains[&7].uuid.to_string(), "00000000-0000-4000-8000-000000000007");
}

#[test]
fn the_states_world_has_a_domain_in_each_state() {
    let (_world, host) = in_memory(World::states());
    let all = host.hypervisor().domains().unwrap();
    assert_eq!(all.len(), 13);
    let find = |number| *all.iter().find(|info| info.identity.domid == dom(number)).unwrap();
    assert!(find(10).paused);
    let building = find(11);
    assert!(building.paused && building.cpu_time.is_zero() && building.online_vcpus == 0);
    assert_eq!(building.outstanding, Kib::from_mib(384));
    assert_eq!(find(12).shutdown, Some(Shutdown::Suspend));
    assert_eq!(find(13).shutdown, Some(Shutdown::PowerOff));
    assert_eq!(find(14).shutdown, Some(Shutdown::Crash));
    assert!(find(15).dying);
    assert_eq!(host.hypervisor().pod(dom(16)).unwrap().entries, Kib::from_mib(768));
    let world = host.with_world(|world| world.clone()).unwrap();
    assert_eq!(world.read("/local/domain/17/data/meminfo_free"), Some("180224"));
    assert_eq!(world.read("/local/domain/18/target"), Some("9"));
    assert_eq!(world.read("/local/domain/11/memory"), None);
}

#[test]
fn a_world_round_trips_through_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let changed = host_in(dir.path(), "guest-ignores")
        .with_world(|world| {
            *world = World::states();
            world.write("/new/parent/leaf", "\u{1f600}\n\"");
            world.remove("/local/domain/9/memory/target");
            world.dom0.kernel = None;
            world.domains.get_mut(&9).unwrap().shutdown = Some(Shutdown::SoftReset);
            world.clone()
        })
        .unwrap();
    let read = host_in(dir.path(), "guest-ignores").with_world(|world| world.clone()).unwrap();
    assert_eq!(read, changed);
}

#[test]
fn an_incomplete_world_gets_defaults() {
    let world = open(
        r#"{ "version": 1, "memory_kib": 1048576,
             "domains": { "12": { "current_kib": 524288, "type": "hvm" } },
             "xenstore": { "/local/domain/12/memory/target": "524288" } }"#,
    )
    .unwrap();
    let domain = &world.domains[&12];
    assert_eq!((domain.limit_kib, domain.guest_type), (UNLIMITED, GuestType::Hvm));
    assert!(domain.balloon && !domain.paused && domain.vcpus == 1);
    assert_eq!(world.free(), Kib(524_288));
    assert_eq!(world.read("/local/domain"), Some(""));
}

#[test]
fn a_bad_world_is_refused_with_line_and_column() {
    let good = serde_json::to_string_pretty(&World::start()).unwrap();
    open(&good).unwrap();
    for (bad, expected) in [
        (good.replacen('{', "", 1), "at line"),
        (good.replace("\"7\":", "\"seven\":"), "at line"),
        (good.replace("\"7\":", "\"40000\":"), "40000 is not a domid: 0 to 32751 at line"),
        (good.replace("\"paused\"", "\"pased\""), "unknown field `pased`"),
        (good.replace("\"pvh\"", "\"lxc\""), "unknown variant `lxc`"),
        (good.replace("00000000-0000-4000", "0000"), "at line"),
        (good.replace("\"version\": 1", "\"version\": 2"), "version 2; this xmem reads version 1"),
        (good.replace("/local/domain/7/name", "local"), "`local` is not a xenstore path"),
        (good.replace("2097152", "-1"), "at line"),
        (good[..good.len() / 2].to_owned(), "EOF while parsing"),
        (String::new(), "EOF while parsing"),
        ("[]".to_owned(), "at line 1 column"),
        ("[".repeat(100_000), "at line 1 column"),
        (" ".repeat(17 << 20), "longer than 16777216 bytes"),
    ] {
        assert_ne!(bad, good, "{expected}");
        let text = open(&bad).unwrap_err();
        assert!(text.contains(expected) && text.contains("world.json"), "{text} / {expected}");
    }
}
