//! A Xen host: its hypervisor, its xenstore, libxl's state directory.

use std::path::Path;

use crate::hypervisor::{Hypervisor, HypervisorError, Privcmd};
use crate::size::Kib;
use crate::xenstore::{Client, Store, StoreError};

/// libxl's `XEN_LIB_DIR` on Linux: fixed when libxl is built, and the same in every distribution.
const STATE_DIR: &str = "/var/lib/xen";

/// A host whose domains can be looked at and changed.
pub trait Host: Send + Sync {
    /// Opens a new connection to xenstore.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    fn connect(&self) -> Result<Box<dyn Store>, StoreError>;

    /// The hypervisor.
    fn hypervisor(&self) -> &dyn Hypervisor;

    /// The directory of libxl's lock and data files: `/var/lib/xen` on a real host.
    fn state_dir(&self) -> &Path;

    /// What is known of the control domain's own kernel.
    fn dom0(&self) -> Dom0 {
        Dom0::default()
    }
}

/// What the control domain's kernel says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dom0 {
    /// Its balloon driver's own target, which can be set by hand in
    /// `/sys/devices/system/xen_memory/xen_memory0/target_kb`. `None` if there is no driver.
    pub balloon_target: Option<Kib>,
    /// Major and minor version of its kernel.
    pub kernel: Option<(u32, u32)>,
    /// Whether Xen maps it 1:1 (Arm), so that the pages it balloons out stay allocated to it.
    pub direct_mapped: bool,
}

/// The host that the program runs on, as its control domain.
#[derive(Debug)]
pub struct XenHost {
    hypervisor: Privcmd,
}

impl XenHost {
    /// Opens the hypervisor's device. Makes no hypercall, and connects to no xenstored yet.
    ///
    /// # Errors
    /// [`HypervisorError::NoXen`] and [`HypervisorError::Device`].
    pub fn open() -> Result<Self, HypervisorError> {
        Ok(Self { hypervisor: Privcmd::open()? })
    }
}

impl Host for XenHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(Client::connect()?))
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        Path::new(STATE_DIR)
    }

    fn dom0(&self) -> Dom0 {
        let target =
            std::fs::read_to_string("/sys/devices/system/xen_memory/xen_memory0/target_kb");
        let release = rustix::system::uname();
        let mut numbers = release.release().to_str().unwrap_or_default().split('.');
        let mut number = || numbers.next().and_then(|number| number.parse().ok());
        Dom0 {
            balloon_target: target.ok().and_then(|kib| kib.trim().parse().ok()).map(Kib),
            kernel: number().zip(number()),
            direct_mapped: cfg!(target_arch = "aarch64"),
        }
    }
}
