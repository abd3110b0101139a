use super::*;
use crate::hypervisor::UNLIMITED;

/// A page full of an earlier call's bytes.
const DIRTY: Page = [0xAA; PAGE_BYTES];

/// A zeroed page with these bytes at these offsets, taken from the headers.
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
fn a_release_is_major_and_minor() {
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
fn domain_info_has_each_field_from_its_offset() {
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
    reply[108..].fill(0xEE); // cpupool, guest-physical bits, arch_config
    assert_eq!(
        domain_info(&reply, 0x15, guest()),
        Some(DomainInfo {
            identity: Identity { domid: guest(), uuid: Uuid::from_bytes(handle) },
            dying: false,
            shutdown: None,
            paused: false,
            guest_type: if ON_X86 { GuestType::Hvm } else { GuestType::Pvh },
            current: Kib(2048),
            limit: UNLIMITED,
            outstanding: Kib(12),
            cpu_time: Duration::from_nanos(256),
            online_vcpus: 4,
        })
    );
}

#[test]
fn cpu_time_and_vcpus_use_their_full_width() {
    let time = 0x0807_0605_0403_0201_u64;
    let vcpus = 0x0403_0201_u32;
    let reply = page(&[(72, &time.to_ne_bytes()), (80, &vcpus.to_ne_bytes())]);
    let info = domain_info(&reply, 0x15, DomId::DOM0).unwrap();
    assert_eq!((info.cpu_time, info.online_vcpus), (Duration::from_nanos(time), vcpus));
}

const ON_X86: bool = cfg!(target_arch = "x86_64");

/// Interface versions before and after `gpaddr_bits`, the size of a list entry, and the number that fits in a page.
const LISTS: [(u32, usize, u8); 2] = if cfg!(target_arch = "aarch64") {
    [(0x13, 112, 34), (0x14, 120, 32)]
} else {
    [(0x13, 104, 36), (0x14, 112, 34)]
};

#[test]
fn the_list_follows_its_request_in_the_page() {
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
        // The second entry is DOMID_XEN, which no list should have.
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
fn a_full_list_continues_and_never_exceeds_the_page() {
    let (version, _, room) = LISTS[1];
    for count in [u32::from(room), u32::from(room) + 1, u32::MAX] {
        let reply = page(&[(24, &count.to_ne_bytes())]);
        let (infos, more) = domain_infos(&reply, version);
        assert_eq!((infos.len(), more), (usize::from(room), true));
        // Every entry is dom0.
        assert!(!are_in_order(DomId::DOM0, &infos));
    }
}

#[test]
fn each_flag_is_its_own_bit() {
    let flags = |bits: u8| {
        let info = domain_info(&page(&[(20, &[bits])]), 0x15, DomId::DOM0).unwrap();
        (info.dying, info.guest_type != GuestType::Pv, info.shutdown.is_some(), info.paused)
    };
    assert_eq!(flags(0b0000_0001), (true, false, false, false));
    assert_eq!(flags(0b0000_0010), (false, true, false, false));
    assert_eq!(flags(0b0000_0100), (false, false, true, false));
    assert_eq!(flags(0b0000_1000), (false, false, false, true));
    assert_eq!(flags(0b1111_0000), (false, false, false, false));
}

/// `emulation_flags` in the reply about a domain, and in an entry of a list.
#[test]
fn a_guest_with_more_than_a_pvh_domains_devices_is_hvm() {
    let hvm = if ON_X86 { GuestType::Hvm } else { GuestType::Pvh };
    for (version, at) in [(0x13, 96), (0x14, 104), (0x18, 104)] {
        for (flags, emulated, expected) in [
            (0_u8, 0_u32, GuestType::Pv),
            (2, 0x001, GuestType::Pvh), // the local APIC
            (2, 0x411, GuestType::Pvh), // a PVH dom0
            (2, 0x3FF, hvm),
            (2, 0x1FF, hvm), // without event channels for its interrupts
        ] {
            let (flags, emulated) = ([flags], emulated.to_ne_bytes());
            let reply = page(&[(20, &flags), (16 + at, &emulated)]);
            let info = domain_info(&reply, version, DomId::DOM0).unwrap();
            assert_eq!(info.guest_type, expected, "{version:#x}, {emulated:?}");
            let reply = page(&[(24, &[1]), (256 + 4, &flags), (256 + at, &emulated)]);
            assert_eq!(domain_infos(&reply, version).0[0].guest_type, expected, "{version:#x}");
        }
    }
}

#[test]
fn a_shutdown_code_is_read_apart_from_the_other_flags() {
    let shutdown =
        |flags: [u8; 4]| domain_info(&page(&[(20, &flags)]), 0x15, DomId::DOM0).unwrap().shutdown;
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
        // A running domain has a meaningless code of zeros or ones.
        assert_eq!(shutdown([0b0010_0000, 0, code, 0]), None, "{code}");
    }
}

#[test]
fn the_next_higher_domain_is_not_taken_for_the_requested_one() {
    let reply = page(&[(8, &[3, 1]), (16, &[3, 1]), (24, &[0x00, 0x02])]);
    assert_eq!(domain_info(&reply, 0x15, guest()), None);
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
