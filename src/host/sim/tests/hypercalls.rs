use std::time::Duration;
use std::{fs, thread};

use rustix::io::Errno;

use super::super::SimHost;
use super::super::world::{Number, SimDomain, World};
use super::{TARGET, dom, errno, host, host_in, set_target};
use crate::host::Host as _;
use crate::hypervisor::{Hypervisor as _, UNLIMITED};
use crate::size::Kib;
use crate::xenstore::Xs as _;

#[test]
fn hypercalls() {
    let (dir, host) = host("");
    let hypervisor = host.hypervisor();
    let info = |number| hypervisor.domain(dom(number)).unwrap();
    assert_eq!(info(6), None);
    assert_eq!((info(0).unwrap().limit, info(0).unwrap().hvm), (UNLIMITED, false));
    assert_eq!(info(7).unwrap().identity.uuid.to_string(), "00000000-0000-4000-8000-000000000007");
    assert!(info(7).unwrap().hvm && info(9).unwrap().hvm && !info(8).unwrap().hvm);

    hypervisor.set_limit(dom(7), Kib(525_315)).unwrap();
    assert_eq!(info(7).unwrap().limit, Kib(525_312));
    hypervisor.set_limit(dom(8), Kib(u64::MAX)).unwrap();
    assert_eq!(info(8).unwrap().limit, UNLIMITED);
    assert_eq!(host_in(&dir, "").hypervisor().domain(dom(8)).unwrap().unwrap().limit, UNLIMITED);
    assert_eq!(errno(hypervisor.set_limit(dom(6), Kib(4))), Some(Errno::SRCH));

    let memory = hypervisor.host_memory().unwrap();
    assert_eq!((memory.total, memory.free), (Kib::from_mib(16_384), Kib::from_mib(9216)));
    assert_eq!((memory.scrub, memory.claimed), (Kib(0), Kib(0)));
}

#[test]
fn populate_on_demand() {
    let (_dir, host) = host("");
    let hypervisor = host.hypervisor();
    assert_eq!(errno(hypervisor.pod(dom(8))), Some(Errno::INVAL));
    assert_eq!(errno(hypervisor.set_pod_target(dom(8), Kib(4))), Some(Errno::INVAL));
    assert_eq!(errno(hypervisor.set_pod_target(dom(6), Kib(4))), Some(Errno::SRCH));
    let above = Kib::from_mib(1026);
    assert_eq!(errno(hypervisor.set_pod_target(dom(7), above)), Some(Errno::INVAL));
    hypervisor.set_pod_target(dom(7), Kib::from_mib(1025)).unwrap();
    let current = |number| hypervisor.domain(dom(number)).unwrap().unwrap().current;
    assert_eq!(current(7), Kib::from_mib(1024), "no entries, no growth");

    let edit = |act: fn(&mut SimDomain)| {
        let with = |world: &mut World| act(world.domains.get_mut(Number(dom(7))).unwrap());
        host.sim.with(with).unwrap();
    };
    edit(|web| {
        web.balloon = false;
        web.limit_kib = UNLIMITED;
        web.pod_entries_kib = Kib::from_mib(512);
    });
    hypervisor.set_pod_target(dom(7), Kib::from_mib(512)).unwrap();
    assert_eq!(current(7), Kib::from_mib(1024), "never shrinks");
    hypervisor.set_pod_target(dom(7), Kib::from_mib(1280)).unwrap();
    assert_eq!(
        (current(7), hypervisor.pod(dom(7)).unwrap().cache),
        (Kib::from_mib(1280), Kib::from_mib(256))
    );
    hypervisor.set_pod_target(dom(7), Kib::from_mib(4096)).unwrap();
    assert_eq!(current(7), Kib::from_mib(1536), "no more than is promised");

    edit(|web| web.pod_entries_kib = Kib::from_mib(64 * 1024));
    assert_eq!(
        errno(hypervisor.set_pod_target(dom(7), Kib::from_mib(32 * 1024))),
        Some(Errno::NOMEM)
    );
    assert_eq!(hypervisor.host_memory().unwrap().free, Kib(0), "what could be had stays");
    edit(|web| web.passthrough = true);
    assert_eq!(errno(hypervisor.set_pod_target(dom(7), Kib(4))), Some(Errno::NOTEMPTY));
}

#[test]
fn a_guest_follows_while_nobody_looks() {
    let (dir, host) = host("");
    let current = |host: &SimHost| host.hypervisor().domain(dom(7)).unwrap().unwrap().current;
    set_target(&host, "4").unwrap();
    drop(host);
    thread::sleep(Duration::from_millis(20));
    let later = current(&host_in(&dir, ""));
    assert!(later <= Kib(1_048_576 - 4096), "{later}");

    set_target(&host_in(&dir, ""), "1048576").unwrap();
    let frozen = host_in(&dir, "guest-ignores");
    let before = current(&frozen);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(current(&frozen), before);
}

#[test]
fn a_domain_removed_by_hand_is_gone() {
    let (dir, host) = host("");
    let path = dir.path().join("world.json");
    let mut world: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    world["domains"].as_object_mut().unwrap().remove("7").unwrap();
    fs::write(&path, world.to_string()).unwrap();
    assert_eq!(host.hypervisor().domain(dom(7)).unwrap(), None);
    assert_eq!(&*host.connect().unwrap().read(TARGET).unwrap(), "1048576", "a ghost");
}
