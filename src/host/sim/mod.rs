//! The embedded sim: a host in a folder, for trying xmem and for tests of scripts that call it.

mod error;
mod fault;
mod folder;
mod guest;
mod hypervisor;
#[expect(clippy::module_inception, reason = "it is the sim, and the rest are its parts")]
mod sim;
mod start;
mod store;
mod tree;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::error::SimError;
pub use self::fault::{Fault, Faults};
use self::folder::Folder;
pub use self::hypervisor::SimHypervisor;
use self::sim::Sim;
pub use self::store::{SimSpan, SimStore};
use crate::host::Host;

/// A simulated host.
#[derive(Debug)]
pub struct SimHost {
    sim: Arc<Sim>,
    hypervisor: SimHypervisor,
    state_dir: PathBuf,
}

impl SimHost {
    /// Opens the sim in `dir`, or in a folder of the user's own, with the faults that
    /// `XMEM_SIM_FAULT` asks for.
    ///
    /// # Errors
    /// The folder cannot be made or is something else, its world is broken, or a fault is unknown.
    pub fn open(dir: Option<&Path>) -> Result<Self, SimError> {
        Self::with_faults(dir, Faults::from_env()?)
    }

    /// Opens the sim in `dir`, or in a folder of the user's own, with these faults.
    ///
    /// # Errors
    /// The folder cannot be made or is something else, or its world is broken.
    pub fn with_faults(dir: Option<&Path>, faults: Faults) -> Result<Self, SimError> {
        let folder = dir.map_or_else(Folder::open_own, Folder::open)?;
        let state_dir = folder.state();
        let sim = Arc::new(Sim::new(folder, faults));
        let hypervisor = SimHypervisor::new(Arc::clone(&sim));
        Ok(Self { sim, hypervisor, state_dir })
    }
}

impl Host for SimHost {
    type Store = SimStore;
    type Hypervisor = SimHypervisor;

    fn connect(&self) -> io::Result<SimStore> {
        SimStore::connect(&self.sim)
    }

    fn hypervisor(&self) -> &SimHypervisor {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    fn simulated(&self) -> bool {
        true
    }
}
