//! What a change works on: a host, behind two seams.
//!
//! Owns the choice of host. Never decides anything about memory.

pub mod sim;
pub mod xen;

use std::io;
use std::path::Path;

use crate::hypervisor::Hypervisor;
use crate::xenstore::Store;

/// A host whose domains can be changed.
pub trait Host {
    /// A connection to its xenstore.
    type Store: Store;
    /// Its hypervisor.
    type Hypervisor: Hypervisor;

    /// Opens a new connection to xenstore.
    ///
    /// # Errors
    /// A [`StoreError`](crate::xenstore::StoreError) inside: nobody listens, or not for us.
    fn connect(&self) -> io::Result<Self::Store>;

    /// The hypervisor.
    fn hypervisor(&self) -> &Self::Hypervisor;

    /// The folder of libxl's lock and userdata files: `/var/lib/xen` on a real host.
    fn state_dir(&self) -> &Path;

    /// Whether nothing real is changed.
    fn simulated(&self) -> bool;
}
