//! What goes over the wire to the hypervisor: numbers and layouts, as Xen's public headers have them.
//!
//! Owns offsets. Pure functions fill a request page and read a reply page; every field is checked
//! at compile time to lie inside the page. Never makes a call.
//!
//! Sources: `xen/include/public/{xen,domctl,sysctl,memory,version}.h`, Xen 4.11 to 4.22, the same for
//! x86-64 and arm64. Numbers are in the machine's own byte order; pages are 4 KiB on every machine.

use std::time::Duration;

use uuid::Uuid;

use super::{DomainInfo, HostMemory, Pod, Shutdown};
use crate::domain::{DomId, Identity};
use crate::size::Kib;

/// Bytes in the page that carries a request to Xen and its reply back.
pub(super) const PAGE_BYTES: usize = 4096;

/// The page that carries a request to Xen and its reply back. Larger than any structure in it.
pub(super) type Page = [u8; PAGE_BYTES];

/// A hypercall that takes one page, and nothing else that Xen could read or write.
///
/// Only this file makes them, so that whoever has one may safely pass it any page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Its name in Xen's headers.
    pub(super) name: &'static str,
    /// `__HYPERVISOR_*` (xen.h).
    pub(super) number: u64,
    /// The argument before the page, for the calls that have one.
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

/// The running Xen's release, as the call's result; the page is not used (version.h).
pub(super) const VERSION: Call = Call::new("XENVER_version", XEN_VERSION, Some(0));
/// What is known of a domain (domctl.h).
pub(super) const GETDOMAININFO: Call = Call::new("XEN_DOMCTL_getdomaininfo", DOMCTL, None);
/// Sets a domain's limit (domctl.h).
pub(super) const MAX_MEM: Call = Call::new("XEN_DOMCTL_max_mem", DOMCTL, None);
/// What the host has (sysctl.h).
pub(super) const PHYSINFO: Call = Call::new("XEN_SYSCTL_physinfo", SYSCTL, None);
/// What is known of many domains (sysctl.h).
pub(super) const GETDOMAININFOLIST: Call = Call::new("XEN_SYSCTL_getdomaininfolist", SYSCTL, None);
/// Grows the populate-on-demand cache (memory.h).
pub(super) const SET_POD_TARGET: Call = Call::new("XENMEM_set_pod_target", MEMORY_OP, Some(16));
/// The populate-on-demand state (memory.h).
pub(super) const GET_POD_TARGET: Call = Call::new("XENMEM_get_pod_target", MEMORY_OP, Some(17));

/// `XENVER_version`'s result, `major << 16 | minor`, as a pair.
pub(super) fn release(result: i32) -> Option<(u32, u32)> {
    let number = u32::try_from(result).ok()?;
    Some((number >> 16, number & 0xFFFF))
}

/// Asks for what is known of `domid`, in a domctl of this interface version.
pub(super) fn getdomaininfo(page: &mut Page, version: u32, domid: DomId) {
    domctl::header(page, 5, version, domid);
}

/// What `XEN_DOMCTL_getdomaininfo` answered about `domid`; `None` when it speaks of another domain:
/// up to Xen 4.17 a domid that does not exist is answered with the next higher domain.
pub(super) fn domain_info(page: &Page, domid: DomId) -> Option<DomainInfo> {
    info_at(page, domctl::INFO).filter(|info| info.identity.domid == domid)
}

/// Asks for what is known of the domains from `first` on, in a sysctl of this interface version, into
/// what is left of the page.
pub(super) fn getdomaininfolist(page: &mut Page, version: u32, first: DomId) {
    let address = page.as_mut_ptr().expose_provenance().saturating_add(sysctl::LIST);
    page.fill(0);
    sysctl::CMD.put(page, 6_u32.to_ne_bytes());
    sysctl::INTERFACE_VERSION.put(page, version.to_ne_bytes());
    sysctl::FIRST_DOMAIN.put(page, first.get().to_ne_bytes());
    sysctl::MAX_DOMAINS.put(page, sysctl::room(version).to_ne_bytes());
    sysctl::BUFFER.put(page, (address as u64).to_ne_bytes());
}

/// What `XEN_SYSCTL_getdomaininfolist` of this interface version answered, and whether there may be
/// more domains than the page had room for.
pub(super) fn domain_infos(page: &Page, version: u32) -> (Vec<DomainInfo>, bool) {
    let room = sysctl::room(version);
    let told = u32::from_ne_bytes(sysctl::NUM_DOMAINS.get(page)).min(room);
    let starts = (sysctl::LIST..).step_by(sysctl::stride(version));
    let infos = starts.zip(0..told).filter_map(|(start, _)| info_at(page, start)).collect();
    (infos, told == room)
}

/// Whether `infos` can be what Xen lists from domid `first` on: it keeps its domains in order (`domain_list`,
/// xen/common/domain.c). Entries that are longer or shorter than was thought would hardly be so.
pub(super) fn are_in_order(first: DomId, infos: &[DomainInfo]) -> bool {
    let domid = |info: &DomainInfo| info.identity.domid;
    infos.first().is_none_or(|info| domid(info) >= first)
        && infos.is_sorted_by(|one, next| domid(one) < domid(next))
}

/// The `struct xen_domctl_getdomaininfo` that begins at `start`; `None` when it does not lie inside the
/// page, or is about a domain of Xen's own.
fn info_at(page: &Page, start: usize) -> Option<DomainInfo> {
    let bytes = page.get(start..start.checked_add(info::BYTES)?)?;
    let flags = u32::from_ne_bytes(info::FLAGS.get(bytes));
    let set = |flag: u32| flags & flag != 0;
    let domid = DomId::new(u16::from_ne_bytes(info::DOMAIN.get(bytes)).into())?;
    Some(DomainInfo {
        identity: Identity { domid, uuid: Uuid::from_bytes(info::HANDLE.get(bytes)) },
        dying: set(info::DYING),
        paused: set(info::PAUSED),
        hvm: set(info::HVM_GUEST),
        current: pages(&info::TOT_PAGES, bytes),
        limit: pages(&info::MAX_PAGES, bytes),
        outstanding: pages(&info::OUTSTANDING_PAGES, bytes),
        shutdown: set(info::SHUTDOWN).then(|| shutdown(flags)),
        cpu_time: Duration::from_nanos(u64::from_ne_bytes(info::CPU_TIME.get(bytes))),
        online_vcpus: u32::from_ne_bytes(info::NR_ONLINE_VCPUS.get(bytes)),
    })
}

/// The reason in the flags of a domain that has shut down (`SHUTDOWN_*`, sched.h).
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

/// Asks to set the limit of `domid`, in a domctl of this interface version. Xen counts it in KiB
/// here, and rounds down to pages.
pub(super) fn max_mem(page: &mut Page, version: u32, domid: DomId, limit: Kib) {
    domctl::header(page, 11, version, domid);
    domctl::MAX_MEMKB.put(page, limit.0.to_ne_bytes());
}

/// Asks to set, or only to tell, the populate-on-demand target of `domid`. Telling ignores `target`.
pub(super) fn pod_target(page: &mut Page, domid: DomId, target: Kib) {
    page.fill(0);
    memory::POD_TARGET_PAGES.put(page, target.pages().to_ne_bytes());
    memory::POD_DOMID.put(page, domid.get().to_ne_bytes());
}

/// What a populate-on-demand call answered.
pub(super) fn pod(page: &Page) -> Pod {
    Pod { cache: pages(&memory::POD_CACHE_PAGES, page), entries: pages(&memory::POD_ENTRIES, page) }
}

/// Asks for what the host has, in a sysctl of this interface version.
pub(super) fn physinfo(page: &mut Page, version: u32) {
    page.fill(0);
    sysctl::CMD.put(page, 3_u32.to_ne_bytes());
    sysctl::INTERFACE_VERSION.put(page, version.to_ne_bytes());
}

/// What `XEN_SYSCTL_physinfo` of this interface version answered.
pub(super) fn host_memory(page: &Page, version: u32) -> HostMemory {
    let layout = if version >= sysctl::ARCH_CAPABILITIES_SINCE {
        &sysctl::PHYSINFO_4_17
    } else {
        &sysctl::PHYSINFO_4_11
    };
    HostMemory {
        total: pages(&layout.total, page),
        free: pages(&layout.free, page),
        scrub: pages(&layout.scrub, page),
        claimed: pages(&layout.outstanding, page),
    }
}

fn pages(field: &Field<8>, page: &[u8]) -> Kib {
    Kib::from_pages(u64::from_ne_bytes(field.get(page)))
}

/// `N` bytes at a fixed place in a page, or in a structure inside one.
struct Field<const N: usize>(usize);

impl<const N: usize> Field<N> {
    /// All fields are constants, so that one outside of the page does not compile.
    const fn at(offset: usize) -> Self {
        assert!(offset.saturating_add(N) <= PAGE_BYTES, "a field must lie inside the page");
        Self(offset)
    }

    fn get(&self, page: &[u8]) -> [u8; N] {
        // They are there: `at` has seen to it for a page, `info::BYTES` for what is in one.
        page.get(self.0..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    fn put(&self, page: &mut Page, bytes: [u8; N]) {
        if let Some(place) = page.get_mut(self.0..).and_then(<[u8]>::first_chunk_mut) {
            *place = bytes;
        }
    }
}

/// `struct xen_domctl`: the union starts at 16.
mod domctl {
    use super::{DomId, Field, Page};

    const CMD: Field<4> = Field::at(0);
    const INTERFACE_VERSION: Field<4> = Field::at(4);
    const DOMAIN: Field<2> = Field::at(8);

    /// `struct xen_domctl_max_mem`.
    pub(super) const MAX_MEMKB: Field<8> = Field::at(16);

    /// An otherwise empty request.
    pub(super) fn header(page: &mut Page, cmd: u32, version: u32, domid: DomId) {
        page.fill(0);
        CMD.put(page, cmd.to_ne_bytes());
        INTERFACE_VERSION.put(page, version.to_ne_bytes());
        DOMAIN.put(page, domid.get().to_ne_bytes());
    }

    /// Where `struct xen_domctl_getdomaininfo` begins.
    pub(super) const INFO: usize = 16;
}

/// `struct xen_domctl_getdomaininfo`. These have not moved from Xen 4.6 on; what comes after `cpupool` has,
/// and is not read.
mod info {
    use super::Field;

    pub(super) const DOMAIN: Field<2> = Field::at(0);
    pub(super) const FLAGS: Field<4> = Field::at(4);
    pub(super) const TOT_PAGES: Field<8> = Field::at(8);
    pub(super) const MAX_PAGES: Field<8> = Field::at(16);
    pub(super) const OUTSTANDING_PAGES: Field<8> = Field::at(24);
    pub(super) const CPU_TIME: Field<8> = Field::at(56);
    pub(super) const NR_ONLINE_VCPUS: Field<4> = Field::at(64);
    pub(super) const HANDLE: Field<16> = Field::at(76);
    /// All of the above.
    pub(super) const BYTES: usize = 92;

    /// `XEN_DOMINF_dying`: dead, not only on its way there.
    pub(super) const DYING: u32 = 1 << 0;
    /// `XEN_DOMINF_hvm_guest`: HVM or PVH.
    pub(super) const HVM_GUEST: u32 = 1 << 1;
    /// `XEN_DOMINF_shutdown`: the reason is in bits 16 to 23.
    pub(super) const SHUTDOWN: u32 = 1 << 2;
    /// `XEN_DOMINF_paused`: by a toolstack.
    pub(super) const PAUSED: u32 = 1 << 3;
}

/// `struct xen_pod_target`.
mod memory {
    use super::Field;

    pub(super) const POD_TARGET_PAGES: Field<8> = Field::at(0);
    pub(super) const POD_CACHE_PAGES: Field<8> = Field::at(16);
    pub(super) const POD_ENTRIES: Field<8> = Field::at(24);
    pub(super) const POD_DOMID: Field<2> = Field::at(32);
}

/// `struct xen_sysctl`: the union starts at 8.
mod sysctl {
    use super::{Field, PAGE_BYTES};

    pub(super) const CMD: Field<4> = Field::at(0);
    pub(super) const INTERFACE_VERSION: Field<4> = Field::at(4);

    /// `struct xen_sysctl_getdomaininfolist`.
    pub(super) const FIRST_DOMAIN: Field<2> = Field::at(8);
    pub(super) const MAX_DOMAINS: Field<4> = Field::at(12);
    pub(super) const BUFFER: Field<8> = Field::at(16);
    pub(super) const NUM_DOMAINS: Field<4> = Field::at(24);

    /// Where xmem has the list put: behind `struct xen_sysctl`, whose 136 bytes Xen copies in and out.
    pub(super) const LIST: usize = 256;

    /// The first interface version (Xen 4.16) with `gpaddr_bits` in `struct xen_domctl_getdomaininfo`.
    const GPADDR_BITS_SINCE: u32 = 0x14;

    /// From one `struct xen_domctl_getdomaininfo` in the list to the next. Arm's `arch_config` has eight
    /// bytes more.
    pub(super) const fn stride(version: u32) -> usize {
        let base = if version >= GPADDR_BITS_SINCE { 112_usize } else { 104 };
        if cfg!(target_arch = "aarch64") { base.saturating_add(8) } else { base }
    }

    /// How many of them lie whole inside the page.
    pub(super) fn room(version: u32) -> u32 {
        let room = PAGE_BYTES.saturating_sub(LIST).checked_div(stride(version));
        room.and_then(|room| u32::try_from(room).ok()).unwrap_or_default()
    }

    /// The first interface version (Xen 4.17) with `arch_capabilities` before the page counts.
    pub(super) const ARCH_CAPABILITIES_SINCE: u32 = 0x15;

    /// The page counts of `struct xen_sysctl_physinfo`: `total_pages` and so on.
    pub(super) struct Physinfo {
        pub(super) total: Field<8>,
        pub(super) free: Field<8>,
        pub(super) scrub: Field<8>,
        pub(super) outstanding: Field<8>,
    }

    /// Xen 4.11 to 4.16.
    pub(super) const PHYSINFO_4_11: Physinfo = Physinfo {
        total: Field::at(40),
        free: Field::at(48),
        scrub: Field::at(56),
        outstanding: Field::at(64),
    };

    /// Xen 4.17 and later.
    pub(super) const PHYSINFO_4_17: Physinfo = Physinfo {
        total: Field::at(48),
        free: Field::at(56),
        scrub: Field::at(64),
        outstanding: Field::at(72),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::UNLIMITED;

    /// A page with leftovers of an earlier call everywhere.
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
    fn arguments_of_a_call() {
        assert_eq!(GETDOMAININFO.arguments(0x7000), [0x7000, 0, 0, 0, 0]);
        assert_eq!(SET_POD_TARGET.arguments(0x7000), [16, 0x7000, 0, 0, 0]);
        assert_eq!(GET_POD_TARGET.arguments(0x7000), [17, 0x7000, 0, 0, 0]);
        assert_eq!((GETDOMAININFO.number, MAX_MEM.number, PHYSINFO.number), (36, 36, 35));
        assert_eq!((SET_POD_TARGET.number, VERSION.number), (12, 17));
    }

    #[test]
    fn release_of_a_version() {
        assert_eq!(release(0x0004_0011), Some((4, 17)));
        assert_eq!(release(-1), None);
    }

    #[test]
    fn requests_hold_nothing_but_what_is_asked() {
        let mut asked = DIRTY;
        getdomaininfo(&mut asked, 0x15, guest());
        assert_eq!(asked, page(&[(0, &[5]), (4, &[0x15]), (8, &[2, 1])]));

        let mut asked = DIRTY;
        max_mem(&mut asked, 0x12, guest(), Kib(525_312));
        assert_eq!(
            asked,
            page(&[(0, &[11]), (4, &[0x12]), (8, &[2, 1]), (16, &[0x00, 0x04, 0x08])])
        );

        let mut asked = DIRTY;
        pod_target(&mut asked, guest(), Kib(525_313)); // 131328 pages: rounded down
        assert_eq!(asked, page(&[(0, &[0x00, 0x01, 0x02]), (32, &[2, 1])]));

        let mut asked = DIRTY;
        physinfo(&mut asked, 0x16);
        assert_eq!(asked, page(&[(0, &[3]), (4, &[0x16])]));
    }

    #[test]
    fn limits_of_more_than_32_bits_arrive_whole() {
        let mut asked = DIRTY;
        max_mem(&mut asked, 0x18, DomId::DOM0, UNLIMITED);
        // 2^32 - 1 pages in KiB
        assert_eq!(asked[16..24], [0xFC, 0xFF, 0xFF, 0xFF, 0x03, 0, 0, 0]);
    }

    #[test]
    fn domain_info_is_read_from_the_prefix_alone() {
        let handle: [u8; 16] = *b"0123456789abcdef";
        let mut reply = page(&[
            (8, &[2, 1]),
            (16, &[2, 1]),
            (20, &[0b0010_0010, 0, 0, 0]), // running, HVM
            (24, &[0x00, 0x02]),           // 512 pages
            (32, &[0xFF, 0xFF, 0xFF, 0xFF]),
            (40, &[0x03]),
            (48, &[0xEE; 44]), // shared, paged, frame, time, VCPUs, label: not for us
            (92, &handle),
        ]);
        reply[112..].fill(0xEE); // moves between releases
        assert_eq!(
            domain_info(&reply, guest()),
            Some(DomainInfo {
                identity: Identity { domid: guest(), uuid: Uuid(handle) },
                dying: false,
                paused: false,
                hvm: true,
                current: Kib(2048),
                limit: UNLIMITED,
                outstanding: Kib(12),
            })
        );
    }

    /// Interface versions, and how far apart a list's entries are in each.
    const LISTS: [(u32, usize); 2] = [(0x13, 104), (0x14, 112)];

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_list_is_asked_for_behind_its_request() {
        for (version, room) in [(0x13, 36), (0x14, 34)] {
            let mut asked = Box::new(DIRTY);
            getdomaininfolist(&mut asked, version, guest());
            let address = asked.as_ptr().addr() + 256;
            let expected = page(&[
                (0, &[6]),
                (4, &version.to_ne_bytes()),
                (8, &[2, 1]),
                (12, &[room]),
                (16, &address.to_ne_bytes()),
            ]);
            assert_eq!(*asked, expected, "{version:#x}");
            // The last entry ends inside the page.
            assert!(256 + usize::from(room) * sysctl::stride(version) <= PAGE_BYTES);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn domains_of_a_list() {
        for (version, stride) in LISTS {
            let mut reply = page(&[(24, &[3])]);
            // The second is one of Xen's own (DOMID_XEN), which no list should have.
            for (place, domid, held) in [(0, 0_u16, 5), (1, 0x7FF2, 9), (2, 0x0102, 7)] {
                let at = 256 + place * stride;
                reply[at..][..stride].fill(0xEE);
                reply[at..][..2].copy_from_slice(&domid.to_ne_bytes());
                reply[at + 4..][..40].fill(0);
                reply[at + 8] = held;
            }
            let (infos, more) = domain_infos(&reply, version);
            assert!(are_in_order(DomId::DOM0, &infos));
            assert!(!are_in_order(DomId::new(1).unwrap(), &infos));
            let told: Vec<_> =
                infos.iter().map(|info| (info.identity.domid.get(), info.current)).collect();
            assert_eq!((told, more), (vec![(0, Kib(20)), (0x0102, Kib(28))], false));
            assert_eq!(infos[1].identity.uuid, Uuid([0xEE; 16]));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_full_list_is_not_the_end_and_none_is_longer_than_the_page() {
        for told in [34_u32, 35, u32::MAX] {
            let reply = page(&[(24, &told.to_ne_bytes())]);
            let (infos, more) = domain_infos(&reply, 0x15);
            assert_eq!((infos.len(), more), (34, true));
            // All of them dom0.
            assert!(!are_in_order(DomId::DOM0, &infos));
        }
    }

    #[test]
    fn flags_one_by_one() {
        let flags = |bits: u8| {
            let info = domain_info(&page(&[(20, &[bits])]), DomId::DOM0).unwrap();
            (info.dying, info.paused, info.hvm)
        };
        assert_eq!(flags(0b0000_0001), (true, false, false));
        assert_eq!(flags(0b0000_0010), (false, false, true));
        assert_eq!(flags(0b0000_1000), (false, true, false));
        assert_eq!(flags(0b1111_0100), (false, false, false));
    }

    #[test]
    fn the_next_higher_domain_is_not_the_one_asked_for() {
        let reply = page(&[(8, &[3, 1]), (16, &[3, 1]), (24, &[0x00, 0x02])]);
        assert_eq!(domain_info(&reply, guest()), None);
    }

    #[test]
    fn pod_state() {
        let reply = page(&[(0, &[1]), (8, &[2]), (16, &[3]), (24, &[4]), (32, &[2, 1])]);
        assert_eq!(pod(&reply), Pod { cache: Kib(12), entries: Kib(16) });
    }

    #[test]
    fn host_memory_in_both_layouts() {
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
