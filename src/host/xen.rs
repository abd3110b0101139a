//! The real host: its Xen, its xenstored, libxl's state folder.
//!
//! Owns the choice of those three. Never talks to any of them itself.

use std::io;
use std::path::Path;

use super::Host;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::privcmd::Privcmd;
use crate::xenstore::Client;

/// libxl's `XEN_LIB_DIR` on Linux. Fixed when libxl is built; no distribution is known to move it.
const STATE_DIR: &str = "/var/lib/xen";

/// The host that xmem runs on, as its control domain.
#[derive(Debug)]
pub struct XenHost {
    hypervisor: Privcmd,
}

impl XenHost {
    /// Opens the hypervisor's device; xenstore is not connected to before it is needed.
    ///
    /// # Errors
    /// There is no Xen here, or its device may not be opened.
    pub fn open() -> Result<Self, HypervisorError> {
        Ok(Self { hypervisor: Privcmd::open()? })
    }
}

impl Host for XenHost {
    type Store = Client;
    type Hypervisor = Privcmd;

    fn connect(&self) -> io::Result<Client> {
        Client::connect()
    }

    fn hypervisor(&self) -> &Privcmd {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        Path::new(STATE_DIR)
    }

    fn simulated(&self) -> bool {
        false
    }
}
