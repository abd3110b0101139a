//! Xen's public structures, each with the name and the fields of its C declaration, as far as this crate uses it.
//!
//! Source: `xen/include/public/{domctl,sysctl,memory}.h`, Xen 4.11 to 4.22, x86-64 and arm64.

use std::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct xen_domctl` up to its union, which holds the operation's own structure.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct Domctl {
    pub(super) cmd: u32,
    pub(super) interface_version: u32,
    pub(super) domain: u16,
    pub(super) pad: [u16; 3],
}

/// `struct xen_domctl_max_mem`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct MaxMem {
    pub(super) max_memkb: u64,
}

/// `struct xen_domctl_getdomaininfo` up to `cpupool`. These fields have not moved since Xen 4.6.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct GetDomainInfo {
    pub(super) domain: u16,
    pub(super) pad1: u16,
    pub(super) flags: u32,
    pub(super) tot_pages: u64,
    pub(super) max_pages: u64,
    pub(super) outstanding_pages: u64,
    pub(super) shr_pages: u64,
    pub(super) paged_pages: u64,
    pub(super) shared_info_frame: u64,
    /// In ns.
    pub(super) cpu_time: u64,
    pub(super) nr_online_vcpus: u32,
    pub(super) max_vcpu_id: u32,
    pub(super) ssidref: u32,
    pub(super) handle: [u8; 16],
    pub(super) cpupool: u32,
}

/// `struct xen_domctl_getdomaininfo` of Xen 4.11 to 4.15, up to the first word of `arch_config`: on x86 its
/// `emulation_flags`.
#[repr(C)]
#[derive(FromBytes)]
pub(super) struct GetDomainInfo411 {
    pub(super) head: GetDomainInfo,
    pub(super) arch_config: u32,
}

/// The same of Xen 4.16 and later.
#[repr(C)]
#[derive(FromBytes)]
pub(super) struct GetDomainInfo416 {
    pub(super) head: GetDomainInfo,
    pub(super) gpaddr_bits: u8,
    pub(super) pad2: [u8; 7],
    pub(super) arch_config: u32,
}

/// `struct xen_sysctl` up to its union.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct Sysctl {
    pub(super) cmd: u32,
    pub(super) interface_version: u32,
}

/// The bytes of `struct xen_sysctl` that Xen copies in and out.
pub(super) const SYSCTL_BYTES: usize = 136;

/// `struct xen_sysctl_getdomaininfolist`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct GetDomainInfoList {
    pub(super) first_domain: u16,
    pub(super) pad: u16,
    pub(super) max_domains: u32,
    pub(super) buffer: u64,
    pub(super) num_domains: u32,
    pub(super) end: u32,
}

/// `struct xen_sysctl_physinfo` up to `capabilities`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct PhysinfoHead {
    pub(super) threads_per_core: u32,
    pub(super) cores_per_socket: u32,
    pub(super) nr_cpus: u32,
    pub(super) max_cpu_id: u32,
    pub(super) nr_nodes: u32,
    pub(super) max_node_id: u32,
    pub(super) cpu_khz: u32,
    pub(super) capabilities: u32,
}

/// `struct xen_sysctl_physinfo` of Xen 4.11 to 4.16, up to `outstanding_pages`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct Physinfo411 {
    pub(super) head: PhysinfoHead,
    pub(super) pages: PhysinfoPages,
}

/// The same of Xen 4.17 and later.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct Physinfo417 {
    pub(super) head: PhysinfoHead,
    pub(super) arch_capabilities: u32,
    pub(super) pad: u32,
    pub(super) pages: PhysinfoPages,
}

/// The page counts of `struct xen_sysctl_physinfo`.
#[expect(clippy::struct_field_names, reason = "the header's names")]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct PhysinfoPages {
    pub(super) total_pages: u64,
    pub(super) free_pages: u64,
    pub(super) scrub_pages: u64,
    pub(super) outstanding_pages: u64,
}

/// `struct xen_pod_target`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct PodTarget {
    pub(super) target_pages: u64,
    pub(super) tot_pages: u64,
    pub(super) pod_cache_pages: u64,
    pub(super) pod_entries: u64,
    pub(super) domid: u16,
    pub(super) pad: [u16; 3],
}

// The offsets that the hypervisor's own compiler gives them.
const _: () = {
    assert!(size_of::<Domctl>() == 16 && offset_of!(Domctl, domain) == 8);
    assert!(size_of::<GetDomainInfo>() == 96);
    assert!(offset_of!(GetDomainInfo, tot_pages) == 8);
    assert!(offset_of!(GetDomainInfo, outstanding_pages) == 24);
    assert!(offset_of!(GetDomainInfo, cpu_time) == 56);
    assert!(offset_of!(GetDomainInfo, nr_online_vcpus) == 64);
    assert!(offset_of!(GetDomainInfo, handle) == 76);
    assert!(offset_of!(GetDomainInfo411, arch_config) == 96);
    assert!(offset_of!(GetDomainInfo416, arch_config) == 104);
    assert!(size_of::<Sysctl>() == 8);
    assert!(size_of::<GetDomainInfoList>() == 24);
    assert!(offset_of!(GetDomainInfoList, buffer) == 8);
    assert!(offset_of!(GetDomainInfoList, num_domains) == 16);
    assert!(offset_of!(Physinfo411, pages) == 32);
    assert!(offset_of!(Physinfo417, pages) == 40);
    assert!(size_of::<PodTarget>() == 40 && offset_of!(PodTarget, domid) == 32);
};
