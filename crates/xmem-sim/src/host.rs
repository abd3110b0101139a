//! [`SimHost`]: the simulated host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use xen::hypervisor::Hypervisor;
use xen::lock::{Lock, LockError};
use xen::xenstore::{Store, StoreError};
use xen::{Dom0, Host, NoInterrupt};

use crate::directory::Directory;
use crate::error::SimError;
use crate::fault::{Fault, FaultInjector, Faults};
use crate::observer::Observer;
use crate::sim::{Sim, Storage};
use crate::start::StartWorld;
use crate::store::SimStore;
use crate::world::World;

/// A simulated host.
#[derive(Debug)]
pub struct SimHost {
    pub(crate) sim: Arc<Sim>,
    state_dir: PathBuf,
    /// The locks that `lock-busy` holds.
    held_locks: Vec<Lock>,
}

impl SimHost {
    /// Opens the sim in `dir`. Without one: in `xmem-sim` in `$XDG_RUNTIME_DIR`, else `xmem-sim-<euid>` in `$TMPDIR` or
    /// `/tmp`; with the suffix `-states` for [`StartWorld::States`]. The environment chooses its faults and, if it is
    /// new, its start world. A missing or empty directory is filled.
    ///
    /// # Errors
    /// The directory or its world cannot be used, or a word in the environment is unknown.
    pub fn open(dir: Option<&Path>) -> Result<Self, SimError> {
        Self::open_with(dir, StartWorld::from_env()?, Faults::from_env()?)
    }

    /// As [`SimHost::open`], with these faults, and with `start` if it is new.
    ///
    /// # Errors
    /// The directory or its world cannot be used.
    pub fn open_with(
        dir: Option<&Path>,
        start: StartWorld,
        faults: Faults,
    ) -> Result<Self, SimError> {
        let directory = Directory::open(dir, start)?;
        let (state_dir, is_busy) = (directory.state_dir(), faults.has(Fault::LockBusy));
        let mut host = Self::over(Storage::File(directory), state_dir, faults);
        if is_busy {
            host.hold_all_locks()?;
        }
        Ok(host)
    }

    /// A copy in memory of the sim in `dir`; creates and changes nothing there. `None` if there is no world.
    ///
    /// # Errors
    /// As [`SimHost::open`].
    pub fn open_existing(dir: Option<&Path>) -> Result<Option<Self>, SimError> {
        let directory = Directory::at(dir, StartWorld::from_env()?);
        let Some(world) = directory.existing_world()? else { return Ok(None) };
        let world = Arc::new(Mutex::new(world));
        Ok(Some(Self::in_memory(&world, &directory.state_dir(), Faults::default())))
    }

    /// A host over a world in memory, which other hosts and a test can share. `state_dir` holds the locks and intent
    /// records.
    pub fn in_memory(world: &Arc<Mutex<World>>, state_dir: &Path, faults: Faults) -> Self {
        Self::over(Storage::Memory(Arc::clone(world)), state_dir.to_owned(), faults)
    }

    /// Sets the observer of this host's calls.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        // A host has one observer: a second one is ignored.
        drop(self.sim.observer.set(observer));
        self
    }

    fn over(storage: Storage, state_dir: PathBuf, faults: Faults) -> Self {
        let (observer, clock) = (OnceLock::new(), OnceLock::new());
        let sim = Arc::new(Sim { storage, injector: FaultInjector::new(faults), observer, clock });
        Self { sim, state_dir, held_locks: Vec::new() }
    }

    /// Takes the lock of each domain, unless another process holds it.
    fn hold_all_locks(&mut self) -> Result<(), SimError> {
        for info in self.sim.read(World::infos)? {
            match Lock::take(&self.state_dir, info.identity, Duration::ZERO, &NoInterrupt) {
                Err(LockError::Busy { .. }) => {}
                lock => self.held_locks.push(lock?),
            }
        }
        Ok(())
    }
}

impl Host for SimHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(SimStore::connect(&self.sim)?))
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        &*self.sim
    }

    fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    fn dom0(&self) -> Dom0 {
        self.sim.read(World::dom0_facts).unwrap_or_default()
    }
}
