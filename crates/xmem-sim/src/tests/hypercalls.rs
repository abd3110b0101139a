use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use xen::hypervisor::UNLIMITED;
use xen::xenstore::Answer;
use xen::{Host as _, Kib};

use super::{connect, dom, errno, in_memory};
use crate::{Call, Failure, SimHost, Verdict, World};

/// Balloons that stand still, however busy this machine is.
fn at_rest(world: World) -> (Arc<Mutex<World>>, SimHost) {
    let (world, host) = in_memory(world);
    (world, host.with_clock(|| 0))
}

#[test]
fn limits_are_whole_pages_and_unchecked() {
    let (_world, host) = at_rest(World::start());
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
    let (world, host) = at_rest(World::states());
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
fn a_pod_target_is_refused_as_xen_does() {
    let (world, host) = at_rest(World::states());
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
    let (_world, host) = at_rest(World::states());
    let memory = host.hypervisor().host_memory().unwrap();
    assert_eq!(memory.claimed, Kib::from_mib(384));
    assert_eq!(memory.available(), Kib(memory.free.0 - memory.claimed.0));
}

/// The domids that `xen::Host::list_domains` finds, and whether the hypervisor refused to list them.
fn listed(refuses: fn(&Call<'_>) -> bool) -> Result<(Vec<u16>, bool), String> {
    let mut world = World::start();
    // One known to the hypervisor only, one to xenstore only, and names that are not domids.
    world.remove("/local/domain/9");
    for name in ["6", "web", "32752"] {
        world.write(&format!("/local/domain/{name}/name"), "");
    }
    let (_world, host) = at_rest(world);
    let store = connect(&host);
    let host = host.observed_by(Arc::new(move |call: &Call<'_>| match call {
        _ if !refuses(call) => Verdict::Proceed,
        Call::List(_) => Verdict::Fail(Failure::Answer(Answer::Denied)),
        _ => Verdict::Fail(Failure::Errno(Errno::PERM)),
    }));
    let list = host.list_domains(&*store).map_err(|error| error.to_string())?;
    let domids = list.domains.iter().map(|info| info.identity.domid.get()).collect();
    Ok((domids, list.refused.is_some()))
}

#[test]
fn the_hypervisors_own_list_of_domains_is_preferred() {
    assert_eq!(listed(|call| matches!(call, Call::List(_))), Ok((vec![0, 7, 8, 9], false)));
}

#[test]
fn a_refused_list_is_replaced_by_the_domains_in_xenstore() {
    assert_eq!(listed(|call| matches!(call, Call::Domains)), Ok((vec![0, 7, 8], true)));
}

#[test]
fn without_xenstore_a_refused_list_is_the_error() {
    let refuses = |call: &Call<'_>| matches!(call, Call::Domains | Call::List(_));
    let error = Err("the hypervisor refused XEN_SYSCTL_getdomaininfolist".to_owned());
    assert_eq!(listed(refuses), error);
}

#[test]
fn a_refused_domctl_is_an_error_and_not_an_empty_list() {
    let refuses = |call: &Call<'_>| matches!(call, Call::Domains | Call::Domain(_));
    let error = Err("the hypervisor refused XEN_DOMCTL_getdomaininfo".to_owned());
    assert_eq!(listed(refuses), error);
}
