//! Xen's calls and structures in this crate's types: fills request pages and parses reply pages.
//!
//! The structures are in `headers`. No function here makes a call.
//!
//! Source: `xen/include/public/{xen,domctl,sysctl,memory,version,sched}.h`, Xen 4.11 to 4.22, x86-64 and arm64.

use std::time::Duration;

use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DomainInfo, GuestType, HostMemory, Pod, Shutdown, headers as c};
use crate::domain::{DomId, Identity};
use crate::size::Kib;

/// Bytes in the page that carries a request to Xen and its reply back: one Xen page, whatever the kernel's page size.
pub(super) const PAGE_BYTES: usize = 4096;

/// The page that carries a request to Xen and its reply back.
pub(super) type Page = [u8; PAGE_BYTES];

/// A hypercall whose only memory argument is one page.
///
/// Only this file constructs calls, so that any [`Call`] is safe to make with any page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The operation's name in Xen's headers.
    pub(super) name: &'static str,
    /// `__HYPERVISOR_*` (`xen.h`).
    pub(super) number: u64,
    /// The sub-operation, for hypercalls that take it as their first argument.
    sub: Option<usize>,
}

impl Call {
    const fn new(name: &'static str, number: u64, sub: Option<usize>) -> Self {
        Self { name, number, sub }
    }

    /// The hypercall's arguments, with the page at `address`.
    pub(super) const fn arguments(&self, address: usize) -> [usize; 5] {
        match self.sub {
            Some(sub) => [sub, address, 0, 0, 0],
            None => [address, 0, 0, 0, 0],
        }
    }
}

const MEMORY_OP: u64 = 12;
const XEN_VERSION: u64 = 17;
const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;

/// The running Xen's release, as the call's result; the page is not used.
pub(super) const VERSION: Call = Call::new("XENVER_version", XEN_VERSION, Some(0));
pub(super) const GETDOMAININFO: Call = Call::new("XEN_DOMCTL_getdomaininfo", DOMCTL, None);
pub(super) const MAX_MEM: Call = Call::new("XEN_DOMCTL_max_mem", DOMCTL, None);
pub(super) const PHYSINFO: Call = Call::new("XEN_SYSCTL_physinfo", SYSCTL, None);
pub(super) const GETDOMAININFOLIST: Call = Call::new("XEN_SYSCTL_getdomaininfolist", SYSCTL, None);
pub(super) const SET_POD_TARGET: Call = Call::new("XENMEM_set_pod_target", MEMORY_OP, Some(16));
pub(super) const GET_POD_TARGET: Call = Call::new("XENMEM_get_pod_target", MEMORY_OP, Some(17));

/// `XEN_DOMINF_*`: bits of [`c::GetDomainInfo::flags`]. The shutdown code is in bits 16 to 23.
mod dominf {
    pub(super) const DYING: u32 = 1 << 0;
    pub(super) const HVM_GUEST: u32 = 1 << 1;
    pub(super) const SHUTDOWN: u32 = 1 << 2;
    pub(super) const PAUSED: u32 = 1 << 3;
}

/// `XEN_X86_EMU_*` (`arch-x86/xen.h`): bits of `emulation_flags`.
mod emu {
    const LAPIC: u32 = 1 << 0;
    const IOAPIC: u32 = 1 << 4;
    const VPCI: u32 = 1 << 10;
    /// All that Xen emulates for a PVH guest (the local APIC) or a PVH dom0 (`emulation_flags_ok`, `xen/arch/x86/domain.c`).
    pub(super) const PVH: u32 = LAPIC | IOAPIC | VPCI;
}

/// The first domctl and sysctl interface version (Xen 4.16) with `gpaddr_bits` in `struct xen_domctl_getdomaininfo`.
const GPADDR_BITS_SINCE: u32 = 0x14;

/// The first sysctl interface version (Xen 4.17) with `arch_capabilities` in `struct xen_sysctl_physinfo`.
const ARCH_CAPABILITIES_SINCE: u32 = 0x15;

/// Where in the page Xen writes the list of domains: behind `struct xen_sysctl`.
const LIST: usize = 256;

const _: () = assert!(LIST >= c::SYSCTL_BYTES);

/// The size of `struct xen_domctl_getdomaininfo` in a sysctl of this interface version. Arm's `arch_config` has eight
/// bytes more than x86's.
const fn stride(version: u32) -> usize {
    match (version >= GPADDR_BITS_SINCE, cfg!(target_arch = "aarch64")) {
        (false, false) => 104,
        (true, false) | (false, true) => 112,
        (true, true) => 120,
    }
}

/// The number of domains that fit into the page behind the request.
fn capacity(version: u32) -> u32 {
    let room = PAGE_BYTES.saturating_sub(LIST).checked_div(stride(version));
    room.and_then(|room| u32::try_from(room).ok()).unwrap_or_default()
}

/// Writes `header` and, in its union, `body` to an otherwise empty page.
fn put<H: IntoBytes + Immutable, B: IntoBytes + Immutable>(page: &mut Page, header: &H, body: &B) {
    const { assert!(size_of::<H>() + size_of::<B>() <= PAGE_BYTES) };
    page.fill(0);
    let bytes = header.as_bytes().iter().chain(body.as_bytes());
    page.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// The structure in the union behind the header `H`.
fn body<H, B: FromBytes>(page: &Page) -> B {
    const { assert!(size_of::<H>() + size_of::<B>() <= PAGE_BYTES) };
    let bytes = page.get(size_of::<H>()..).unwrap_or_default();
    // The assertion rules the failure out.
    B::read_from_prefix(bytes).map_or_else(|_| B::new_zeroed(), |(body, _)| body)
}

const fn domctl(cmd: u32, version: u32, domid: DomId) -> c::Domctl {
    c::Domctl { cmd, interface_version: version, domain: domid.get(), pad: [0; 3] }
}

const fn sysctl(cmd: u32, version: u32) -> c::Sysctl {
    c::Sysctl { cmd, interface_version: version }
}

/// The release in `XENVER_version`'s result, `major << 16 | minor`.
pub(super) fn release(result: i32) -> Option<(u32, u32)> {
    let number = u32::try_from(result).ok()?;
    Some((number >> 16, number & 0xFFFF))
}

/// Fills a request for the state of `domid`.
pub(super) fn getdomaininfo(page: &mut Page, version: u32, domid: DomId) {
    put(page, &domctl(5, version, domid), &());
}

/// The reply about `domid`; `None` if it is about another domain. Up to Xen 4.17, the answer for a domid that does not
/// exist is the next higher domain.
pub(super) fn domain_info(page: &Page, version: u32, domid: DomId) -> Option<DomainInfo> {
    let info = info(page.get(size_of::<c::Domctl>()..)?, version)?;
    (info.identity.domid == domid).then_some(info)
}

/// Fills a request for the state of the domains from `first` on, as many as the page has room for.
pub(super) fn getdomaininfolist(page: &mut Page, version: u32, first: DomId) {
    let address = page.as_mut_ptr().expose_provenance().saturating_add(LIST);
    let list = c::GetDomainInfoList {
        first_domain: first.get(),
        pad: 0,
        max_domains: capacity(version),
        buffer: address as u64,
        num_domains: 0,
        end: 0,
    };
    put(page, &sysctl(6, version), &list);
}

/// The domains in the reply, and whether there may be more than the page had room for.
pub(super) fn domain_infos(page: &Page, version: u32) -> (Vec<DomainInfo>, bool) {
    let capacity = capacity(version);
    let count = body::<c::Sysctl, c::GetDomainInfoList>(page).num_domains.min(capacity);
    let entries = page.get(LIST..).unwrap_or_default().chunks_exact(stride(version));
    let infos = entries.zip(0..count).filter_map(|(entry, _)| info(entry, version)).collect();
    (infos, count == capacity)
}

/// Whether `infos` is in the order in which Xen lists domains from `first` on (`domain_list`, `xen/common/domain.c`).
/// Entries of another size than [`stride`] would hardly be.
pub(super) fn are_in_order(first: DomId, infos: &[DomainInfo]) -> bool {
    let domid = |info: &DomainInfo| info.identity.domid;
    infos.first().is_none_or(|info| domid(info) >= first)
        && infos.is_sorted_by(|one, next| domid(one) < domid(next))
}

/// `None` for a domain of Xen's own, such as `DOMID_XEN`.
fn info(entry: &[u8], version: u32) -> Option<DomainInfo> {
    let (info, arch_config) = if version >= GPADDR_BITS_SINCE {
        let (entry, _) = c::GetDomainInfo416::read_from_prefix(entry).ok()?;
        (entry.head, entry.arch_config)
    } else {
        let (entry, _) = c::GetDomainInfo411::read_from_prefix(entry).ok()?;
        (entry.head, entry.arch_config)
    };
    let set = |flag: u32| info.flags & flag != 0;
    Some(DomainInfo {
        identity: Identity {
            domid: DomId::new(info.domain.into())?,
            uuid: Uuid::from_bytes(info.handle),
        },
        dying: set(dominf::DYING),
        shutdown: set(dominf::SHUTDOWN).then(|| shutdown(info.flags)),
        paused: set(dominf::PAUSED),
        guest_type: guest_type(set(dominf::HVM_GUEST), arch_config),
        current: Kib::from_pages(info.tot_pages),
        limit: Kib::from_pages(info.max_pages),
        outstanding: Kib::from_pages(info.outstanding_pages),
        cpu_time: Duration::from_nanos(info.cpu_time),
        online_vcpus: info.nr_online_vcpus,
    })
}

/// The type of a guest with this `arch_config`, whose first word is `emulation_flags` on x86 only.
const fn guest_type(is_hvm: bool, arch_config: u32) -> GuestType {
    if cfg!(not(target_arch = "x86_64")) {
        return GuestType::Pvh;
    }
    match (is_hvm, arch_config & !emu::PVH != 0) {
        (false, _) => GuestType::Pv,
        (true, false) => GuestType::Pvh,
        (true, true) => GuestType::Hvm,
    }
}

/// The shutdown code in `flags` (`SHUTDOWN_*`, `sched.h`).
const fn shutdown(flags: u32) -> Shutdown {
    let [_, _, code, _] = flags.to_le_bytes();
    match code {
        0 => Shutdown::PowerOff,
        1 => Shutdown::Reboot,
        2 => Shutdown::Suspend,
        3 => Shutdown::Crash,
        4 => Shutdown::Watchdog,
        5 => Shutdown::SoftReset,
        other => Shutdown::Other(other),
    }
}

/// Fills a request to set the limit of `domid`. Xen rounds it down to pages.
pub(super) fn max_mem(page: &mut Page, version: u32, domid: DomId, limit: Kib) {
    put(page, &domctl(11, version, domid), &c::MaxMem { max_memkb: limit.0 });
}

/// Fills a request to set or to read the populate-on-demand target of `domid`. Reading ignores `target`.
pub(super) fn pod_target(page: &mut Page, domid: DomId, target: Kib) {
    let target = c::PodTarget {
        target_pages: target.pages(),
        tot_pages: 0,
        pod_cache_pages: 0,
        pod_entries: 0,
        domid: domid.get(),
        pad: [0; 3],
    };
    put(page, &(), &target);
}

/// The reply to a populate-on-demand call.
pub(super) fn pod(page: &Page) -> Pod {
    let target = body::<(), c::PodTarget>(page);
    Pod {
        cache: Kib::from_pages(target.pod_cache_pages),
        entries: Kib::from_pages(target.pod_entries),
    }
}

/// Fills a request for the host's memory.
pub(super) fn physinfo(page: &mut Page, version: u32) {
    put(page, &sysctl(3, version), &());
}

/// The host's memory in the reply.
pub(super) fn host_memory(page: &Page, version: u32) -> HostMemory {
    let pages = if version >= ARCH_CAPABILITIES_SINCE {
        body::<c::Sysctl, c::Physinfo417>(page).pages
    } else {
        body::<c::Sysctl, c::Physinfo411>(page).pages
    };
    HostMemory {
        total: Kib::from_pages(pages.total_pages),
        free: Kib::from_pages(pages.free_pages),
        scrub: Kib::from_pages(pages.scrub_pages),
        claimed: Kib::from_pages(pages.outstanding_pages),
    }
}

#[cfg(test)]
mod tests;
