//! The [`Hypervisor`] trait over the world's domains.
//!
//! Owns what each call does, as Xen does it (xen/common/domctl.c, xen/arch/x86/mm/p2m-pod.c).

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::sim::Sim;
use super::world::{Kind, Number, SimDomain, World};
use crate::domain::{DomId, Identity};
use crate::hypervisor::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use crate::size::Kib;

/// The sim's hypervisor.
#[derive(Debug)]
pub struct SimHypervisor {
    sim: Arc<Sim>,
}

impl SimHypervisor {
    pub(super) const fn new(sim: Arc<Sim>) -> Self {
        Self { sim }
    }

    /// Makes the hypercall `call`.
    fn call<R>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut World) -> Result<R, Errno>,
    ) -> Result<R, HypervisorError> {
        self.sim
            .with(act)
            .map_err(|error| HypervisorError::Device {
                path: self.sim.folder.world(),
                source: error.into(),
            })?
            .map_err(|errno| refused(call, errno))
    }

    /// Makes the hypercall `call` on one domain.
    fn call_on<R>(
        &self,
        call: &'static str,
        domid: DomId,
        act: impl FnOnce(&mut SimDomain) -> Result<R, Errno>,
    ) -> Result<R, HypervisorError> {
        self.call(call, |world| {
            world.domains.get_mut(&Number(domid)).ok_or(Errno::SRCH).and_then(act)
        })
    }
}

fn refused(call: &'static str, errno: Errno) -> HypervisorError {
    HypervisorError::Refused { call, source: io::Error::from(errno) }
}

impl Hypervisor for SimHypervisor {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        self.call("XEN_DOMCTL_getdomaininfo", |world| {
            Ok(world.domains.get(&Number(domid)).map(|domain| info(domid, domain)))
        })
    }

    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError> {
        self.call_on("XEN_DOMCTL_max_mem", domid, |domain| {
            domain.limit_kib = Kib::from_pages(limit.pages().min(u32::MAX.into()));
            Ok(())
        })
    }

    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError> {
        self.call_on("XENMEM_get_pod_target", domid, |domain| match domain.kind {
            Kind::Pv => Err(Errno::INVAL),
            Kind::Pvh | Kind::Hvm => {
                Ok(Pod { cache: domain.pod_cache_kib, entries: domain.pod_entries_kib })
            }
        })
    }

    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError> {
        self.call("XENMEM_set_pod_target", |world| {
            let free = world.free();
            let domain = world.domains.get_mut(&Number(domid)).ok_or(Errno::SRCH)?;
            set_pod_target(domain, Kib::from_pages(target.pages()), free)
        })
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.call("XEN_SYSCTL_physinfo", |world| {
            let (total, free, claimed) = (world.memory, world.free(), world.claimed());
            Ok(HostMemory { total, free, scrub: Kib(0), claimed })
        })
    }
}

fn info(domid: DomId, domain: &SimDomain) -> DomainInfo {
    let pages = |kib: Kib| Kib::from_pages(kib.pages());
    DomainInfo {
        identity: Identity { domid, uuid: domain.uuid },
        dying: domain.dying,
        paused: domain.paused,
        hvm: domain.kind != Kind::Pv,
        current: pages(domain.current_kib),
        limit: pages(domain.limit_kib),
        outstanding: pages(domain.outstanding_kib),
    }
}

/// Grows the PoD cache towards `target`. What a host without enough memory could give stays.
fn set_pod_target(domain: &mut SimDomain, target: Kib, free: Kib) -> Result<(), Errno> {
    if domain.kind == Kind::Pv || target > domain.limit_kib {
        return Err(Errno::INVAL);
    }
    if domain.passthrough {
        return Err(Errno::NOTEMPTY);
    }
    let (current, cache) = (domain.current_kib, domain.pod_cache_kib);
    if domain.pod_entries_kib == Kib(0) || domain.dying || target < current {
        return Ok(());
    }
    // What is promised and not backed by the cache; the balloon driver does the rest.
    let promised = domain.pod_entries_kib.0.saturating_sub(cache.0);
    let wanted = target.0.saturating_sub(current.0).min(promised);
    let got = wanted.min(free.0);
    domain.current_kib = Kib(current.0.saturating_add(got));
    domain.pod_cache_kib = Kib(cache.0.saturating_add(got));
    if got < wanted { Err(Errno::NOMEM) } else { Ok(()) }
}
