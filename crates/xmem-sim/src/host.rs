//! [`SimHost`]: the simulated host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use xen::hypervisor::{DomainInfo, Hypervisor};
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
    sim: Arc<Sim>,
    state_dir: PathBuf,
    /// The locks that `lock-busy` holds.
    held_locks: Vec<Lock>,
}

impl SimHost {
    /// The directory that [`SimHost::open`] uses without one: `xmem-sim` in `$XDG_RUNTIME_DIR`, else `xmem-sim-<euid>`
    /// in `$TMPDIR` or `/tmp`; with the suffix `-states` for [`StartWorld::States`].
    pub fn default_dir(world: StartWorld) -> PathBuf {
        Directory::default_path(world)
    }

    /// Opens the sim in `dir`, or in the default directory. The environment chooses its faults and, if it is new, its start
    /// world. A missing or empty directory is filled.
    ///
    /// # Errors
    /// The directory or its world cannot be used, or a word in the environment is unknown.
    pub fn open(dir: Option<&Path>) -> Result<Self, SimError> {
        Self::open_with(dir, StartWorld::from_env()?, Faults::from_env()?)
    }

    /// Opens the sim in `dir` with these faults, and with `start` if it is new.
    ///
    /// # Errors
    /// The directory or its world cannot be used.
    pub fn open_with(
        dir: Option<&Path>,
        start: StartWorld,
        faults: Faults,
    ) -> Result<Self, SimError> {
        Self::over(Directory::open(dir, start)?, faults)
    }

    /// A copy in memory of the sim in `dir`; creates and changes nothing there. `None` if there is no world.
    ///
    /// # Errors
    /// As [`SimHost::open`].
    pub fn open_existing(dir: Option<&Path>) -> Result<Option<Self>, SimError> {
        let (directory, world) = match Directory::open_existing(dir, StartWorld::from_env()?)? {
            (directory, Some(world)) => (directory, Arc::new(Mutex::new(world))),
            (_, None) => return Ok(None),
        };
        Ok(Some(Self::in_memory(&world, &directory.state_dir(), Faults::default())))
    }

    /// A host over a world in memory, which other hosts and a test can share. `state_dir` holds the locks and intent
    /// records.
    pub fn in_memory(world: &Arc<Mutex<World>>, state_dir: &Path, faults: Faults) -> Self {
        let sim = Sim::new(Storage::Memory(Arc::clone(world)), FaultInjector::new(faults));
        Self::new(sim, state_dir.to_owned())
    }

    /// Sets the observer of this host's calls.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        // A host has one observer: a second one is ignored.
        drop(self.sim.observer.set(observer));
        self
    }

    /// Replaces the clock, which returns Unix time in milliseconds.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        drop(self.sim.clock.set(Box::new(clock)));
        self
    }

    /// Runs `act` on the present world, and saves its changes.
    ///
    /// # Errors
    /// The world file cannot be read or replaced.
    pub fn with_world<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        self.sim.with(act)
    }

    fn over(directory: Directory, faults: Faults) -> Result<Self, SimError> {
        let state_dir = directory.state_dir();
        let is_busy = faults.has(Fault::LockBusy);
        let sim = Sim::new(Storage::File(Box::new(directory)), FaultInjector::new(faults));
        let mut host = Self::new(sim, state_dir);
        if is_busy {
            host.held_locks = host.take_all_locks()?;
        }
        Ok(host)
    }

    fn new(sim: Sim, state_dir: PathBuf) -> Self {
        Self { sim: Arc::new(sim), state_dir, held_locks: Vec::new() }
    }

    /// Takes the lock of each domain, unless another process holds it.
    fn take_all_locks(&self) -> Result<Vec<Lock>, SimError> {
        let infos = self.sim.look(World::infos)?;
        let take = |info: DomainInfo| match Lock::take(
            &self.state_dir,
            info.identity,
            Duration::ZERO,
            &NoInterrupt,
        ) {
            Err(LockError::Busy { .. }) => None,
            lock => Some(lock.map_err(SimError::from)),
        };
        infos.into_iter().filter_map(take).collect()
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
        self.sim.look(World::dom0_facts).unwrap_or_default()
    }
}
