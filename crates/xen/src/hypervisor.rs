//! The hypervisor: the calls that setting a domain's memory takes.
//!
//! [`Hypervisor`] is the seam, made for `dyn`; [`Privcmd`] makes the calls on the running host. Memory is in KiB, whole
//! 4 KiB pages on every machine.

mod abi;
mod calls;
mod headers;
mod interface;
mod privcmd;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use self::calls::Privcmd;
use crate::domain::{DomId, Identity};
use crate::size::Kib;

/// A domain's state (`struct xen_domctl_getdomaininfo`, `xen/include/public/domctl.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Domid and UUID.
    pub identity: Identity,
    /// Destroyed, but some of its memory is still in use (`XEN_DOMINF_dying`).
    pub dying: bool,
    /// Why it shut down, if it has (`XEN_DOMINF_shutdown`). A suspended domain may go on.
    pub shutdown: Option<Shutdown>,
    /// Paused by a toolstack (`XEN_DOMINF_paused`).
    pub paused: bool,
    /// How it is virtualised (`XEN_DOMINF_hvm_guest`, `XEN_X86_EMU_*`).
    pub guest_type: GuestType,
    /// The memory allocated to it: `tot_pages`.
    pub current: Kib,
    /// The most memory it may be allocated: `max_pages`. [`UNLIMITED`] if nobody has set a limit.
    pub limit: Kib,
    /// Memory claimed for it and not yet allocated: `outstanding_pages`.
    pub outstanding: Kib,
    /// The run time of all its VCPUs, in ns in Xen: zero until it is first unpaused.
    pub cpu_time: Duration,
    /// The number of VCPUs that are online: none while the domain is being built.
    pub online_vcpus: u32,
}

/// How a domain is virtualised.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum GuestType {
    /// Paravirtualised.
    Pv,
    /// Hardware-assisted, without an emulated PC. On Arm each domain is.
    #[default]
    Pvh,
    /// Hardware-assisted, with an emulated PC.
    Hvm,
}

/// Why a domain has shut down (`SHUTDOWN_*`, `xen/include/public/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shutdown {
    /// It powered off (0).
    PowerOff,
    /// It asked for a reboot (1).
    Reboot,
    /// It suspended, to be saved or migrated (2).
    Suspend,
    /// It crashed (3).
    Crash,
    /// Its watchdog expired (4).
    Watchdog,
    /// It asked for a reset in place, as for kexec (5).
    SoftReset,
    /// A code of a later Xen.
    Other(u8),
}

/// The limit of a domain that has none: `max_pages` is `UINT_MAX`, as dom0's is without `dom0_mem=max:`.
pub const UNLIMITED: Kib = Kib::from_pages(u32::MAX as u64);

/// A populate-on-demand guest's state (`XENMEM_get_pod_target`, `xen/include/public/memory.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Memory in the PoD cache.
    pub cache: Kib,
    /// Guest memory not yet populated.
    pub entries: Kib,
}

/// The host's memory (`XEN_SYSCTL_physinfo`, `xen/include/public/sysctl.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// All memory that Xen manages.
    pub total: Kib,
    /// Free and scrubbed.
    pub free: Kib,
    /// Free, waiting to be scrubbed.
    pub scrub: Kib,
    /// Claimed by domains that are being built.
    pub claimed: Kib,
}

impl HostMemory {
    /// The memory that a domain can be allocated: free or being scrubbed, and not claimed by another domain.
    pub const fn available(&self) -> Kib {
        Kib(self.free.0.saturating_add(self.scrub.0).saturating_sub(self.claimed.0))
    }
}

/// Why a hypercall failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "`call` is its name in Xen's headers, and the messages say what the others are"
)]
pub enum HypervisorError {
    /// There is no privcmd device: this is not a Xen domain, or its modules are not loaded.
    #[error("there is no Xen here: {} is missing", path.display())]
    NoXen { path: PathBuf },
    /// A device exists but cannot be opened or mapped.
    #[error("cannot use {}", path.display())]
    Device { path: PathBuf, source: io::Error },
    /// The device for hypercall memory is missing, and no memory can be locked instead.
    #[error("{} is missing, and no page of memory can be locked in its place", path.display())]
    NoPage { path: PathBuf, source: io::Error },
    /// The hypervisor refused a call.
    #[error("the hypervisor refused {call}")]
    Refused { call: &'static str, source: io::Error },
    /// The reply is not laid out as expected. A call that changes something is never made after it.
    #[error("cannot read the hypervisor's reply to {call}")]
    BadReply { call: &'static str, source: io::Error },
    /// Xen answered EACCES to every known interface version: it is newer than this crate, or its XSM policy denies the
    /// call (FLASK answers EACCES too).
    #[error("Xen accepts none of the known {interface} interface versions {from:#x} to {to:#x}")]
    UnknownInterface { interface: &'static str, from: u32, to: u32 },
}

impl HypervisorError {
    /// The errno of Xen, or of the kernel for a device.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Refused { source, .. } | Self::Device { source, .. } => {
                rustix::io::Errno::from_io_error(source)
            }
            Self::NoXen { .. }
            | Self::NoPage { .. }
            | Self::BadReply { .. }
            | Self::UnknownInterface { .. } => None,
        }
    }
}

/// The calls that setting a domain's memory takes.
pub trait Hypervisor: Send + Sync {
    /// The state of `domid`; `None` if there is no such domain (`XEN_DOMCTL_getdomaininfo`).
    ///
    /// # Errors
    /// Refused for another reason than ESRCH, or no interface version fits.
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError>;

    /// The state of every domain, by domid, including dying ones (`XEN_SYSCTL_getdomaininfolist`).
    ///
    /// # Errors
    /// Refused, or no interface version fits. [`Host::list_domains`](crate::Host::list_domains) can then find them one by one.
    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError>;

    /// Sets the limit, in whole pages, rounded down (`XEN_DOMCTL_max_mem`). Xen does not compare it with the memory that
    /// the domain holds.
    ///
    /// # Errors
    /// Refused; ESRCH if the domain is gone.
    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError>;

    /// The populate-on-demand state of a PVH or HVM guest (`XENMEM_get_pod_target`).
    ///
    /// # Errors
    /// Refused: ESRCH if the domain is gone, EINVAL for a PV domain (Xen 4.14 answers zeros).
    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError>;

    /// Sets the populate-on-demand target (`XENMEM_set_pod_target`): grows the PoD cache, never shrinks it.
    ///
    /// # Errors
    /// * ENOMEM: the host has no memory for it. What was added stays.
    /// * ENOTEMPTY: a device is passed through.
    /// * EINVAL: it is above the limit, or the domain is PV (Xen 4.14 does nothing then).
    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError>;

    /// The host's memory (`XEN_SYSCTL_physinfo`).
    ///
    /// # Errors
    /// Refused, or no interface version fits.
    fn host_memory(&self) -> Result<HostMemory, HypervisorError>;
}
