//! Xen's calls and structures in this crate's types: fills request pages and parses reply pages.
//!
//! The structures are in `headers`. No function here makes a call.
//!
//! Source: `xen/include/public/{xen,domctl,sysctl,memory,version,sched}.h`, Xen 4.11 to 4.22, x86-64 and arm64.

use std::time::Duration;

use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DomainInfo, HostMemory, Pod, Shutdown, headers as c};
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
pub(super) fn domain_info(page: &Page, domid: DomId) -> Option<DomainInfo> {
    info(&body::<c::Domctl, _>(page)).filter(|info| info.identity.domid == domid)
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
    let infos = entries
        .zip(0..count)
        .filter_map(|(entry, _)| c::GetDomainInfo::read_from_prefix(entry).ok())
        .filter_map(|(entry, _)| info(&entry))
        .collect();
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
fn info(info: &c::GetDomainInfo) -> Option<DomainInfo> {
    let set = |flag: u32| info.flags & flag != 0;
    Some(DomainInfo {
        identity: Identity {
            domid: DomId::new(info.domain.into())?,
            uuid: Uuid::from_bytes(info.handle),
        },
        dying: set(dominf::DYING),
        shutdown: set(dominf::SHUTDOWN).then(|| shutdown(info.flags)),
        paused: set(dominf::PAUSED),
        hvm: set(dominf::HVM_GUEST),
        current: Kib::from_pages(info.tot_pages),
        limit: Kib::from_pages(info.max_pages),
        outstanding: Kib::from_pages(info.outstanding_pages),
        cpu_time: Duration::from_nanos(info.cpu_time),
        online_vcpus: info.nr_online_vcpus,
    })
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
mod tests {
    use super::*;
    use crate::hypervisor::UNLIMITED;

    /// A page full of an earlier call's bytes.
    const DIRTY: Page = [0xAA; PAGE_BYTES];

    /// A zeroed page with these bytes at these offsets, written by hand from the headers.
    fn page(parts: &[(usize, &[u8])]) -> Page {
        let mut page = [0; PAGE_BYTES];
        for (at, bytes) in parts {
            page[*at..][..bytes.len()].copy_from_slice(bytes);
        }
        page
    }

    fn guest() -> DomId {
        DomId::new(0x0102).unwrap()
    }

    #[test]
    fn a_call_passes_its_sub_operation_before_the_page() {
        assert_eq!(GETDOMAININFO.arguments(0x7000), [0x7000, 0, 0, 0, 0]);
        assert_eq!(SET_POD_TARGET.arguments(0x7000), [16, 0x7000, 0, 0, 0]);
        assert_eq!(GET_POD_TARGET.arguments(0x7000), [17, 0x7000, 0, 0, 0]);
        assert_eq!((GETDOMAININFO.number, MAX_MEM.number), (36, 36));
        assert_eq!((PHYSINFO.number, GETDOMAININFOLIST.number), (35, 35));
        assert_eq!((SET_POD_TARGET.number, VERSION.number), (12, 17));
    }

    #[test]
    fn the_release_is_major_and_minor() {
        assert_eq!(release(0x0004_0011), Some((4, 17)));
        assert_eq!(release(-1), None);
    }

    #[test]
    fn requests_overwrite_the_whole_page() {
        let mut request = DIRTY;
        getdomaininfo(&mut request, 0x15, guest());
        assert_eq!(request, page(&[(0, &[5]), (4, &[0x15]), (8, &[2, 1])]));

        let mut request = DIRTY;
        max_mem(&mut request, 0x12, guest(), Kib(525_312));
        let limit = [0x00, 0x04, 0x08];
        assert_eq!(request, page(&[(0, &[11]), (4, &[0x12]), (8, &[2, 1]), (16, &limit)]));

        let mut request = DIRTY;
        pod_target(&mut request, guest(), Kib(525_313)); // 131328 pages: rounded down
        assert_eq!(request, page(&[(0, &[0x00, 0x01, 0x02]), (32, &[2, 1])]));

        let mut request = DIRTY;
        physinfo(&mut request, 0x16);
        assert_eq!(request, page(&[(0, &[3]), (4, &[0x16])]));
    }

    #[test]
    fn a_limit_above_32_bits_is_passed_whole() {
        let mut request = DIRTY;
        max_mem(&mut request, 0x18, DomId::DOM0, UNLIMITED);
        // 2^32 - 1 pages in KiB
        assert_eq!(request[16..24], [0xFC, 0xFF, 0xFF, 0xFF, 0x03, 0, 0, 0]);
    }

    #[test]
    fn domain_info_uses_only_the_fields_that_never_moved() {
        let handle: [u8; 16] = *b"0123456789abcdef";
        let mut reply = page(&[
            (8, &[2, 1]),
            (16, &[2, 1]),
            (20, &[0b0010_0010, 0, 0, 0]), // running, HVM
            (24, &[0x00, 0x02]),           // 512 pages
            (32, &[0xFF, 0xFF, 0xFF, 0xFF]),
            (40, &[0x03]),
            (48, &[0xEE; 24]),   // shared, paged, frame
            (72, &[0x00, 0x01]), // 256 ns
            (80, &[0x04, 0x00]), // VCPUs online
            (84, &[0xEE; 8]),    // highest VCPU, label
            (92, &handle),
        ]);
        reply[108..].fill(0xEE); // cpupool, and what moves between releases
        assert_eq!(
            domain_info(&reply, guest()),
            Some(DomainInfo {
                identity: Identity { domid: guest(), uuid: Uuid::from_bytes(handle) },
                dying: false,
                shutdown: None,
                paused: false,
                hvm: true,
                current: Kib(2048),
                limit: UNLIMITED,
                outstanding: Kib(12),
                cpu_time: Duration::from_nanos(256),
                online_vcpus: 4,
            })
        );
    }

    #[test]
    fn cpu_time_and_vcpus_use_their_whole_width() {
        let time = 0x0807_0605_0403_0201_u64;
        let vcpus = 0x0403_0201_u32;
        let reply = page(&[(72, &time.to_ne_bytes()), (80, &vcpus.to_ne_bytes())]);
        let info = domain_info(&reply, DomId::DOM0).unwrap();
        assert_eq!((info.cpu_time, info.online_vcpus), (Duration::from_nanos(time), vcpus));
    }

    /// Interface versions before and after `gpaddr_bits`, the size of a list entry and how many fit, by the headers.
    const LISTS: [(u32, usize, u8); 2] = if cfg!(target_arch = "aarch64") {
        [(0x13, 112, 34), (0x14, 120, 32)]
    } else {
        [(0x13, 104, 36), (0x14, 112, 34)]
    };

    #[test]
    fn the_list_goes_behind_its_request() {
        for (version, entry, room) in LISTS {
            let mut request = Box::new(DIRTY);
            getdomaininfolist(&mut request, version, guest());
            let address = request.as_ptr().addr() + 256;
            let expected = page(&[
                (0, &[6]),
                (4, &version.to_ne_bytes()),
                (8, &[2, 1]),
                (12, &[room]),
                (16, &address.to_ne_bytes()),
            ]);
            assert_eq!(*request, expected, "{version:#x}");
            assert!(256 + usize::from(room) * entry <= PAGE_BYTES);
        }
    }

    #[test]
    fn a_list_is_read_entry_by_entry_without_xens_own_domains() {
        for (version, entry, _) in LISTS {
            let mut reply = page(&[(24, &[3])]);
            // The second is DOMID_XEN, which no list should have.
            for (place, domid, pages) in [(0, 0_u16, 5), (1, 0x7FF2, 9), (2, 0x0102, 7)] {
                let at = 256 + place * entry;
                reply[at..][..entry].fill(0xEE);
                reply[at..][..2].copy_from_slice(&domid.to_ne_bytes());
                reply[at + 4..][..40].fill(0);
                reply[at + 8] = pages;
            }
            let (infos, more) = domain_infos(&reply, version);
            assert!(are_in_order(DomId::DOM0, &infos));
            assert!(!are_in_order(DomId::new(1).unwrap(), &infos));
            let held: Vec<_> =
                infos.iter().map(|info| (info.identity.domid.get(), info.current)).collect();
            assert_eq!((held, more), (vec![(0, Kib(20)), (0x0102, Kib(28))], false));
            assert_eq!(infos[1].identity.uuid, Uuid::from_bytes([0xEE; 16]));
        }
    }

    #[test]
    fn a_full_list_is_not_the_end_and_never_longer_than_the_page() {
        let (version, _, room) = LISTS[1];
        for count in [u32::from(room), u32::from(room) + 1, u32::MAX] {
            let reply = page(&[(24, &count.to_ne_bytes())]);
            let (infos, more) = domain_infos(&reply, version);
            assert_eq!((infos.len(), more), (usize::from(room), true));
            // All of them dom0.
            assert!(!are_in_order(DomId::DOM0, &infos));
        }
    }

    #[test]
    fn each_flag_is_its_own_bit() {
        let flags = |bits: u8| {
            let info = domain_info(&page(&[(20, &[bits])]), DomId::DOM0).unwrap();
            (info.dying, info.hvm, info.shutdown.is_some(), info.paused)
        };
        assert_eq!(flags(0b0000_0001), (true, false, false, false));
        assert_eq!(flags(0b0000_0010), (false, true, false, false));
        assert_eq!(flags(0b0000_0100), (false, false, true, false));
        assert_eq!(flags(0b0000_1000), (false, false, false, true));
        assert_eq!(flags(0b1111_0000), (false, false, false, false));
    }

    #[test]
    fn a_shutdown_has_its_code_and_other_bits_do_not_matter() {
        let shutdown =
            |flags: [u8; 4]| domain_info(&page(&[(20, &flags)]), DomId::DOM0).unwrap().shutdown;
        for (code, expected) in [
            (0, Shutdown::PowerOff),
            (1, Shutdown::Reboot),
            (2, Shutdown::Suspend),
            (3, Shutdown::Crash),
            (4, Shutdown::Watchdog),
            (5, Shutdown::SoftReset),
            (6, Shutdown::Other(6)),
            (0xFF, Shutdown::Other(0xFF)),
        ] {
            assert_eq!(shutdown([0b0000_0100, 0, code, 0]), Some(expected), "{code}");
            assert_eq!(shutdown([0b1111_1111, 0xFF, code, 0xFF]), Some(expected), "{code}");
            // A running domain has a code of zeros or of ones, which means nothing.
            assert_eq!(shutdown([0b0010_0000, 0, code, 0]), None, "{code}");
        }
    }

    #[test]
    fn the_next_higher_domain_is_not_the_one_asked_for() {
        let reply = page(&[(8, &[3, 1]), (16, &[3, 1]), (24, &[0x00, 0x02])]);
        assert_eq!(domain_info(&reply, guest()), None);
    }

    #[test]
    fn pod_state_is_cache_and_entries() {
        let reply = page(&[(0, &[1]), (8, &[2]), (16, &[3]), (24, &[4]), (32, &[2, 1])]);
        assert_eq!(pod(&reply), Pod { cache: Kib(12), entries: Kib(16) });
    }

    #[test]
    fn host_memory_moved_in_4_17() {
        let reply = page(&[(40, &[9]), (48, &[8]), (56, &[7]), (64, &[6]), (72, &[5])]);
        let memory = |total, free, scrub, claimed| HostMemory {
            total: Kib(total),
            free: Kib(free),
            scrub: Kib(scrub),
            claimed: Kib(claimed),
        };
        for version in 0x11..=0x14 {
            assert_eq!(host_memory(&reply, version), memory(36, 32, 28, 24), "{version:#x}");
        }
        for version in 0x15..=0x16 {
            assert_eq!(host_memory(&reply, version), memory(32, 28, 24, 20), "{version:#x}");
        }
    }
}
