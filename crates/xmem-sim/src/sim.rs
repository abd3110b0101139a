//! The state of a simulated host, which its connections share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use xen::Kib;

use crate::balloon;
use crate::directory::Directory;
use crate::error::SimError;
use crate::fault::{Fault, FaultInjector};
use crate::observer::{Call, Failure, Observer, Verdict};
use crate::world::World;

/// The storage of the world.
#[derive(Debug)]
pub(crate) enum Storage {
    File(Directory),
    Memory(Arc<Mutex<World>>),
}

pub(crate) struct Sim {
    pub(crate) storage: Storage,
    pub(crate) injector: FaultInjector,
    pub(crate) observer: OnceLock<Arc<dyn Observer>>,
    /// Unix time in milliseconds, if not the system's.
    pub(crate) clock: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl Sim {
    /// Makes `call` by `act`, unless an observer or a fault decides otherwise.
    pub(crate) fn call<'a, R, E>(
        &self,
        call: &Call<'a>,
        act: impl FnOnce() -> Result<R, E>,
        fail: impl FnOnce(&Call<'a>, Failure) -> E,
    ) -> Result<R, E> {
        let observers = [self.observer.get().map(Arc::as_ref), Some(&self.injector as _)];
        let mut proceed_and_fail = None;
        for observer in observers.into_iter().flatten() {
            match observer.before(call) {
                Verdict::Proceed => {}
                Verdict::Fail(failure) => return Err(fail(call, failure)),
                Verdict::ProceedAndFail(failure) => proceed_and_fail = Some(failure),
            }
        }
        let result = act();
        for observer in observers.into_iter().flatten() {
            observer.after(call);
        }
        match proceed_and_fail {
            Some(failure) => result.and(Err(fail(call, failure))),
            None => result,
        }
    }

    /// Runs `act` on the present world, with every balloon in its present position, and saves the changes.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        let now_ms = self.clock.get().map_or_else(unix_ms, |clock| clock());
        let advance = |world: &mut World| {
            if !self.injector.faults.has(Fault::GuestIgnores) {
                balloon::advance(world, now_ms, self.free(world));
            }
        };
        let act = |world: &mut World| {
            advance(world);
            let result = act(world);
            // The changes may set balloons in motion.
            advance(world);
            result
        };
        match &self.storage {
            Storage::File(directory) => directory.with(act),
            Storage::Memory(world) => Ok(act(&mut locked(world))),
        }
    }

    /// Runs `read` on the world as last saved.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&World) -> R) -> Result<R, SimError> {
        match &self.storage {
            Storage::File(directory) => Ok(read(&directory.world()?)),
            Storage::Memory(world) => Ok(read(&locked(world))),
        }
    }

    /// The host's free memory, including claimed memory.
    pub(crate) fn free(&self, world: &World) -> Kib {
        if self.injector.faults.has(Fault::HostFull) { Kib(0) } else { world.free() }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("storage", &self.storage).finish_non_exhaustive()
    }
}

/// Locks `mutex`, also after a panic: the values behind these mutexes are valid between any two operations.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
