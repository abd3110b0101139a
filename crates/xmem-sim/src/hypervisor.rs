//! xen's [`Hypervisor`] over the world's domains, each call as Xen does it (`xen/common/domctl.c`,
//! `xen/arch/x86/mm/p2m-pod.c`).

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use xen::hypervisor::{DomainInfo, GuestType, HostMemory, Hypervisor, HypervisorError, Pod};
use xen::{DomId, Kib};

use crate::observer::{Call, Failure};
use crate::sim::{Sim, Storage};
use crate::world::{SimDomain, World};

impl Sim {
    /// Makes the hypercall `call` by `act`.
    fn hypercall<R>(
        &self,
        call: &Call<'_>,
        act: impl FnOnce(&mut World) -> Result<R, Errno>,
    ) -> Result<R, HypervisorError> {
        let act = || match self.with(act) {
            Ok(result) => result.map_err(|errno| call.hypervisor_error(&Failure::Errno(errno))),
            Err(error) => {
                let path = match &self.storage {
                    Storage::File(directory) => directory.world_file(),
                    Storage::Memory(_) => PathBuf::new(),
                };
                Err(HypervisorError::Device { path, source: io::Error::other(error) })
            }
        };
        self.call(call, act, |call, failure| call.hypervisor_error(&failure))
    }

    /// The same for a domain; ESRCH without it.
    fn hypercall_on<R>(
        &self,
        call: &Call<'_>,
        domid: DomId,
        act: impl FnOnce(&mut SimDomain, Kib) -> Result<R, Errno>,
    ) -> Result<R, HypervisorError> {
        let is_gone = self.injector.is_gone(domid, 0);
        self.hypercall(call, |world| {
            let free = self.free(world);
            match world.domains.get_mut(&domid.get()) {
                Some(domain) if !is_gone => act(domain, free),
                _ => Err(Errno::SRCH),
            }
        })
    }
}

impl Hypervisor for Sim {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        let is_gone = self.injector.is_gone(domid, 1);
        self.hypercall(&Call::Domain(domid), |world| {
            let domain = world.domains.get(&domid.get()).filter(|_| !is_gone);
            Ok(domain.map(|domain| domain.info(domid)))
        })
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        self.hypercall(&Call::Domains, |world| {
            let mut infos = world.infos();
            infos.retain(|info| !self.injector.is_gone(info.identity.domid, 1));
            Ok(infos)
        })
    }

    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError> {
        self.hypercall_on(&Call::SetLimit(domid, limit), domid, |domain, _| {
            domain.limit_kib = Kib::from_pages(limit.pages().min(u32::MAX.into()));
            Ok(())
        })
    }

    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError> {
        self.hypercall_on(&Call::Pod(domid), domid, |domain, _| match domain.guest_type {
            GuestType::Pv => Err(Errno::INVAL),
            _ => Ok(Pod { cache: domain.pod_cache_kib, entries: domain.pod_entries_kib }),
        })
    }

    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError> {
        self.hypercall_on(&Call::SetPod(domid, target), domid, |domain, free| {
            set_pod_target(domain, Kib::from_pages(target.pages()), free)
        })
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.hypercall(&Call::HostMemory, |world| {
            let (total, free, claimed) = (world.memory_kib, self.free(world), world.claimed());
            Ok(HostMemory { total, free, scrub: Kib(0), claimed })
        })
    }
}

/// Grows the PoD cache towards `target`. On ENOMEM, what was added stays.
fn set_pod_target(domain: &mut SimDomain, target: Kib, free: Kib) -> Result<(), Errno> {
    if domain.guest_type == GuestType::Pv || target > domain.limit_kib {
        return Err(Errno::INVAL);
    }
    if domain.passthrough {
        return Err(Errno::NOTEMPTY);
    }
    let (current, cache) = (domain.current_kib, domain.pod_cache_kib);
    if domain.pod_entries_kib == Kib(0) || domain.dying || target < current {
        return Ok(());
    }
    // Entries that the cache does not back; the balloon driver gives the rest back.
    let unbacked = domain.pod_entries_kib.0.saturating_sub(cache.0);
    let wanted = target.0.saturating_sub(current.0).min(unbacked);
    let got = wanted.min(free.0);
    domain.current_kib = Kib(current.0.saturating_add(got));
    domain.pod_cache_kib = Kib(cache.0.saturating_add(got));
    if got < wanted { Err(Errno::NOMEM) } else { Ok(()) }
}
