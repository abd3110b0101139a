//! What all parts of one open sim share.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::SimError;
use super::fault::{Fault, Faults};
use super::folder::Folder;
use super::guest::{self, Guests};
use super::world::World;
use crate::size::Kib;

/// One open sim.
#[derive(Debug)]
pub(super) struct Sim {
    pub(super) folder: Folder,
    pub(super) faults: Faults,
    /// The faults that have had their one turn.
    had: Mutex<BTreeSet<Fault>>,
    /// Whether xenstored went away for good.
    pub(super) store_is_lost: AtomicBool,
}

impl Sim {
    pub(super) const fn new(folder: Folder, faults: Faults) -> Self {
        let had = Mutex::new(BTreeSet::new());
        Self { folder, faults, had, store_is_lost: AtomicBool::new(false) }
    }

    /// Whether it is time for a fault that has only one turn in a process.
    pub(super) fn has_turn(&self, fault: Fault) -> bool {
        let mut had = self.had.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults.has(fault) && had.insert(fault)
    }

    /// Memory that no domain holds.
    pub(super) fn free(&self, world: &World) -> Kib {
        if self.faults.has(Fault::HostFull) { Kib(0) } else { world.free() }
    }

    /// Looks at the world as it is now, with all balloons where they are by now, and changes it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        let guests = self.guests();
        self.folder.with(|world| {
            let now_ms = now_ms();
            if guest::is_due(world, now_ms) {
                guest::advance(world, guests, now_ms);
            }
            let result = act(world);
            guest::note(world, guests, now_ms);
            result
        })
    }

    fn guests(&self) -> Guests {
        if self.faults.has(Fault::GuestIgnores) {
            Guests::Ignore
        } else if self.faults.has(Fault::HostFull) {
            Guests::OnlyShrink
        } else {
            Guests::Follow
        }
    }
}

/// Milliseconds of Unix time.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
