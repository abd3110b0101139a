use rustix::io::Errno;
use xen::hypervisor::UNLIMITED;
use xen::{Host as _, Kib};

use super::{dom, errno, in_memory};
use crate::World;

#[test]
fn limits_are_whole_pages_and_never_checked() {
    let (_world, host) = in_memory(World::start());
    let xen = host.hypervisor();
    xen.set_limit(dom(7), Kib(4099)).unwrap();
    assert_eq!(xen.domain(dom(7)).unwrap().unwrap().limit, Kib(4096));
    xen.set_limit(dom(7), Kib(u64::MAX)).unwrap();
    assert_eq!(xen.domain(dom(7)).unwrap().unwrap().limit, UNLIMITED);
    assert_eq!(errno(xen.set_limit(dom(1), Kib(4096))), Some(Errno::SRCH));
    assert_eq!(xen.domain(dom(1)).unwrap(), None);
}

#[test]
fn the_pod_target_grows_the_cache_and_never_shrinks_it() {
    let (world, host) = in_memory(World::states());
    let (xen, mib) = (host.hypervisor(), Kib::from_mib);
    let populating = dom(16);
    let state = || {
        let (info, pod) = (xen.domain(populating).unwrap().unwrap(), xen.pod(populating).unwrap());
        (info.current.mib(), pod.cache.mib(), pod.entries.mib())
    };
    world.lock().unwrap().domains.get_mut(&16).unwrap().balloon = false;
    assert_eq!(state(), (512, 256, 768));
    xen.set_limit(populating, mib(2048)).unwrap();
    xen.set_pod_target(populating, mib(256)).unwrap();
    assert_eq!(state(), (512, 256, 768));
    xen.set_pod_target(populating, mib(768)).unwrap();
    assert_eq!(state(), (768, 512, 768));
    xen.set_pod_target(populating, mib(2048)).unwrap();
    assert_eq!(state(), (1024, 768, 768));
}

#[test]
fn the_pod_target_is_refused_as_xen_does() {
    let (world, host) = in_memory(World::states());
    let (xen, mib) = (host.hypervisor(), Kib::from_mib);
    let set = |domid, target| errno(xen.set_pod_target(dom(domid), mib(target)));
    assert_eq!(set(8, 512), Some(Errno::INVAL), "a PV domain");
    assert_eq!(set(16, 2048), Some(Errno::INVAL), "above the limit");
    assert_eq!(set(7, 512), None, "nothing outstanding");
    assert_eq!(set(1, 512), Some(Errno::SRCH));
    assert_eq!(errno(xen.pod(dom(8))), Some(Errno::INVAL));
    xen.set_limit(dom(16), mib(2048)).unwrap();
    {
        let mut world = world.lock().unwrap();
        let free = world.free();
        world.memory_kib = Kib(world.memory_kib.0 - free.0 + mib(10).0);
    }
    assert_eq!(set(16, 1024), Some(Errno::NOMEM));
    assert_eq!(xen.domain(dom(16)).unwrap().unwrap().current, mib(522), "what was added stays");
    world.lock().unwrap().domains.get_mut(&16).unwrap().passthrough = true;
    assert_eq!(set(16, 1024), Some(Errno::NOTEMPTY));
}

#[test]
fn claimed_memory_is_free_but_not_available() {
    let (_world, host) = in_memory(World::states());
    let memory = host.hypervisor().host_memory().unwrap();
    assert_eq!(memory.claimed, Kib::from_mib(384));
    assert_eq!(memory.available(), Kib(memory.free.0 - memory.claimed.0));
}
