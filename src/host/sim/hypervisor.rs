//! The [`Hypervisor`] trait over the world's domains.
//!
//! Owns what each call does, as Xen does it (xen/common/domctl.c, xen/arch/x86/mm/p2m-pod.c).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::fault::Fault;
use super::sim::Sim;
use super::world::{Kind, Number, SimDomain, World};
use crate::domain::{DomId, Identity};
use crate::hypervisor::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use crate::size::Kib;

/// The device that faults speak of.
const DEVICE: &str = "/dev/xen/privcmd";

/// The sim's hypervisor.
#[derive(Debug)]
pub struct SimHypervisor {
    sim: Arc<Sim>,
    /// How often each domain was looked at: with `gone`, once is all it can be.
    looks: Mutex<BTreeMap<DomId, u32>>,
}

impl SimHypervisor {
    pub(super) const fn new(sim: Arc<Sim>) -> Self {
        Self { sim, looks: Mutex::new(BTreeMap::new()) }
    }

    /// What keeps a hypercall from being made, if so.
    fn check(&self, call: &'static str) -> Result<(), HypervisorError> {
        let path = || PathBuf::from(DEVICE);
        let faults = &self.sim.faults;
        if faults.has(Fault::NoXen) {
            Err(HypervisorError::NoXen { path: path() })
        } else if faults.has(Fault::NoPermission) {
            Err(HypervisorError::Device { path: path(), source: Errno::ACCESS.into() })
        } else if faults.has(Fault::NotControl) {
            Err(refused(call, Errno::PERM))
        } else {
            Ok(())
        }
    }

    /// Whether a domain has disappeared after so many more looks at it.
    fn is_gone(&self, domid: DomId, looks: u32) -> bool {
        if domid == DomId::DOM0 || !self.sim.faults.has(Fault::Gone) {
            return false;
        }
        let mut looked = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let count = looked.entry(domid).or_default();
        *count = count.saturating_add(looks);
        *count > 1
    }

    /// Makes the hypercall `call`.
    fn call<R>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut World) -> Result<R, Errno>,
    ) -> Result<R, HypervisorError> {
        self.check(call)?;
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
        let gone = self.is_gone(domid, 0);
        self.call(call, |world| match world.domains.get_mut(Number(domid)) {
            Some(domain) if !gone => act(domain),
            _ => Err(Errno::SRCH),
        })
    }
}

fn refused(call: &'static str, errno: Errno) -> HypervisorError {
    HypervisorError::Refused { call, source: io::Error::from(errno) }
}

impl Hypervisor for SimHypervisor {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        let gone = self.is_gone(domid, 1);
        self.call("XEN_DOMCTL_getdomaininfo", |world| match world.domains.get(&Number(domid)) {
            Some(domain) if !gone => Ok(Some(info(domid, domain))),
            _ => Ok(None),
        })
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        self.call("XEN_SYSCTL_getdomaininfolist", |world| {
            let there = world.domains.iter().filter(|(domid, _)| !self.is_gone(domid.0, 1));
            Ok(there.map(|(domid, domain)| info(domid.0, domain)).collect())
        })
    }

    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError> {
        let is_refused = self.sim.faults.has(Fault::LimitRefused);
        self.call_on("XEN_DOMCTL_max_mem", domid, |domain| {
            if is_refused {
                return Err(Errno::PERM);
            }
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
        let gone = self.is_gone(domid, 0);
        self.call("XENMEM_set_pod_target", |world| {
            let free = self.sim.free(world);
            match world.domains.get_mut(Number(domid)) {
                Some(_) if self.sim.faults.has(Fault::PodRefused) => Err(Errno::NOMEM),
                Some(domain) if !gone => {
                    set_pod_target(domain, Kib::from_pages(target.pages()), free)
                }
                _ => Err(Errno::SRCH),
            }
        })
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.call("XEN_SYSCTL_physinfo", |world| {
            let (total, free, claimed) = (world.memory, self.sim.free(world), world.claimed());
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
