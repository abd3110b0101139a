//! The hypervisor: the six calls that setting a domain's memory takes.

mod abi;
mod interface;
mod privcmd;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use self::privcmd::Privcmd;
use crate::domain::{DomId, Identity};
use crate::size::Kib;

/// A domain as the hypervisor sees it (`struct xen_domctl_getdomaininfo`, `xen/include/public/domctl.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Number and UUID.
    pub identity: Identity,
    /// Dead: what is left of it goes when the last user of its memory lets go (`XEN_DOMINF_dying`).
    pub dying: bool,
    /// Why it has stopped running for good or for now, if it has (`XEN_DOMINF_shutdown`).
    pub shutdown: Option<Shutdown>,
    /// Paused by a toolstack (`XEN_DOMINF_paused`).
    pub paused: bool,
    /// PVH or HVM; PV otherwise (`XEN_DOMINF_hvm_guest`).
    pub hvm: bool,
    /// Memory allocated to it: `tot_pages`.
    pub current: Kib,
    /// The most it may be allocated: `max_pages`. [`UNLIMITED`] if nobody has set a limit.
    pub limit: Kib,
    /// Claimed for it and not yet allocated: `outstanding_pages`.
    pub outstanding: Kib,
    /// How long its virtual processors have run altogether: zero while it has never been unpaused.
    pub cpu_time: Duration,
    /// How many virtual processors are online: none while the domain is being built.
    pub online_vcpus: u32,
}

/// Why a domain has shut down (`SHUTDOWN_*`, `xen/include/public/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shutdown {
    /// It powered off.
    PowerOff,
    /// It wants to be started again.
    Reboot,
    /// It is suspended: being saved or migrated.
    Suspend,
    /// It crashed.
    Crash,
    /// Its watchdog expired.
    Watchdog,
    /// It was reset in place.
    SoftReset,
    /// A reason of a later Xen.
    Other(u8),
}

/// The limit of a domain without one: `max_pages` is `UINT_MAX`, as dom0's without `dom0_mem=max:`.
pub const UNLIMITED: Kib = Kib::from_pages(u32::MAX as u64);

/// A populate-on-demand guest's state (`XENMEM_get_pod_target`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Memory in the PoD cache.
    pub cache: Kib,
    /// Guest memory that is promised and not yet populated.
    pub entries: Kib,
}

/// What the host has (`XEN_SYSCTL_physinfo`).
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
    /// What a domain can get: free, and not claimed by another one.
    pub const fn available(&self) -> Kib {
        Kib(self.free.0.saturating_add(self.scrub.0).saturating_sub(self.claimed.0))
    }
}

/// Why the hypervisor did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// There is no privcmd device: no Xen, or its modules are not loaded.
    #[error("there is no Xen here: {} is missing", path.display())]
    NoXen {
        /// The device that was looked for.
        path: PathBuf,
    },
    /// A device of Xen's cannot be opened or mapped.
    #[error("cannot use {}", path.display())]
    Device {
        /// The device.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// No memory can be kept in place for the hypervisor, and the device that gives some out is missing.
    #[error("there is no {}, and no page of memory can be locked in its place", path.display())]
    NoPage {
        /// The device.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// The hypervisor refused a call.
    #[error("the hypervisor refused {call}")]
    Refused {
        /// The call, by its name in Xen's headers.
        call: &'static str,
        /// Xen's errno; its numbers are Linux's.
        source: io::Error,
    },
    /// Every interface version that xmem knows was refused with EACCES: a Xen newer than xmem, or an
    /// XSM policy that forbids the call (FLASK answers EACCES as well).
    #[error("the hypervisor takes none of the {interface} interface versions {from:#x} to {to:#x}")]
    UnknownInterface {
        /// `domctl` or `sysctl`.
        interface: &'static str,
        /// Oldest version tried.
        from: u32,
        /// Newest version tried.
        to: u32,
    },
}

impl HypervisorError {
    /// Xen's errno, where Xen gave one.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Refused { source, .. } | Self::Device { source, .. } => {
                rustix::io::Errno::from_io_error(source)
            }
            Self::NoXen { .. } | Self::NoPage { .. } | Self::UnknownInterface { .. } => None,
        }
    }
}

/// The calls that setting a domain's memory takes. Sizes are KiB in whole 4 KiB pages.
pub trait Hypervisor: Send + Sync {
    /// What is known of `domid`; `None` when there is no such domain.
    ///
    /// # Errors
    /// Refused for another reason than ESRCH, or no interface version fits.
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError>;

    /// What is known of every domain, by domid (`XEN_SYSCTL_getdomaininfolist`). Dying ones are among them.
    ///
    /// # Errors
    /// Refused, or no interface version fits.
    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError>;

    /// Sets the limit (`XEN_DOMCTL_max_mem`). No check against what the domain holds is made.
    ///
    /// # Errors
    /// Refused; ESRCH when the domain is gone.
    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError>;

    /// The populate-on-demand state of a PVH or HVM guest.
    ///
    /// # Errors
    /// Refused: ESRCH when the domain is gone, EINVAL for a PV domain (Xen 4.14 answers zeros there).
    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError>;

    /// Sets the PoD target (`XENMEM_set_pod_target`): grows the PoD cache, never shrinks it.
    ///
    /// # Errors
    /// ENOMEM when the host has no memory for it (what was added stays), ENOTEMPTY when a device is
    /// passed through, EINVAL above the limit and for a PV domain (Xen 4.14 does nothing there).
    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError>;

    /// What the host has.
    ///
    /// # Errors
    /// Refused, or no interface version fits.
    fn host_memory(&self) -> Result<HostMemory, HypervisorError>;
}
