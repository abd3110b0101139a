//! The embedded sim: a host in a folder, for trying xmem and for tests of scripts that call it.
//!
//! It works anywhere, needs no set-up and no privilege, and changes nothing real. What one process
//! does in a folder, the next one finds, and several may work in it at once.
//!
//! # The folder
//!
//! Without a DIR it is the user's own: `xmem-sim` in `$XDG_RUNTIME_DIR`, or else `xmem-sim-<euid>` in
//! `$TMPDIR` or `/tmp`. A DIR that is not there is made; one that holds something else is refused, and
//! so is, to root, one that belongs to somebody else.
//!
//! | name | what |
//! | --- | --- |
//! | `world.json` | the host: memory, domains, xenstore |
//! | `world.journal` | what has changed since, of a world of more than about twenty domains, while an xmem runs or after one that was killed |
//! | `world.lock` | held (flock) by whoever reads or changes the world |
//! | `world.json.new` | the next world, for an instant; a left-over means nothing |
//! | `lib` | stands for `/var/lib/xen`: the real lock files and intents |
//!
//! # The world
//!
//! A new one is a host of 16 GiB with dom0 (2 GiB, no limit), `web` (domain 7, PVH, 1 GiB of 2),
//! `db` (8, PV, 2 GiB of 4) and `win` (9, HVM, 2 GiB with 16 MiB of them for video), all in step.
//!
//! `world.json` may be edited between runs, and short ones may be written by hand: of a domain only
//! `uuid` and `current_kib` have to be there. An edit means what can be read there: what a killed run had
//! written to a journal only is dropped then, and would otherwise be in `world.json` after the next run.
//!
//! | field | what |
//! | --- | --- |
//! | `version` | 1 |
//! | `journal` | kept by the sim: the world goes on in `world.journal` |
//! | `memory_kib` | all memory of the host; free is what the domains do not hold |
//! | `domains` | by domid; removing one destroys it |
//! | `uuid`, `kind` | `kind` is `pv`, `pvh` or `hvm` |
//! | `current_kib`, `limit_kib` | what it holds and may hold; 17179869180 is no limit |
//! | `outstanding_kib` | claimed, and not yet allocated |
//! | `pod_cache_kib`, `pod_entries_kib` | populate on demand |
//! | `passthrough` | has a device passed through: the PoD target is refused with ENOTEMPTY |
//! | `paused`, `dying` | as in Xen; neither moves its balloon |
//! | `balloon` | `false`: the guest has no balloon driver |
//! | `rate_kib_per_second` | how fast its balloon moves; 262144 if not said |
//! | `moving_since_ms` | kept by the sim: when the balloon's present motion began |
//! | `xenstore` | path to value; parents need not be told. Nodes of a domain that is not in `domains` are a ghost, as on a real host |
//! | `generations`, `generation` | kept by the sim: which nodes were changed when, for conflicts |
//!
//! # Misbehaviour
//!
//! `XMEM_SIM_FAULT` is a list of these words with commas between them. The exit code is that of
//! `xmem set` on one domain.
//!
//! | word | what happens | exit code |
//! | --- | --- | --- |
//! | `lock-busy` | every domain's lock is held, by this process itself | 5 |
//! | `no-xen` | there is no hypercall device | 7 |
//! | `no-permission` | the hypercall device cannot be opened (EACCES) | 7 |
//! | `not-control` | every hypercall is refused (EPERM), as in a guest | 7 |
//! | `gone` | a domain other than dom0 is there at the first look, and not at the second | 3 |
//! | `limit-refused` | the limit cannot be set (EPERM) | 7 |
//! | `pod-refused` | the PoD target of a PVH or HVM guest cannot be set (ENOMEM) | 1 |
//! | `store-down` | nobody listens at xenstore's socket | 7 |
//! | `store-full` | xenstore takes no WRITE (ENOSPC) | 1 |
//! | `conflict` | every commit meets another change (EAGAIN) | 6 |
//! | `conflict-once` | the first commit does; the second succeeds | 0 |
//! | `commit-lost-done` | the connection ends in the first commit, which is done | 0 |
//! | `commit-lost-undone` | the connection ends in the first commit, which is not done | 1 |
//! | `commit-unknown` | as before, and nobody listens from then on | 9 |
//! | `kill-before-commit` | the process is killed right before its first commit: the limit is set and the target is not | 137 |
//! | `kill-after-commit` | the process is killed right after its first commit: all is set, nothing is cleaned up | 137 |
//! | `guest-ignores` | no balloon moves | 0, and 8 with `--wait` |
//! | `host-full` | the host has no free memory: no balloon grows, no PoD cache either | 0, and 8 with `--wait` for more |
//!
//! Code 4 needs no word (ask for more than `memory/static-max`), and neither has 10 (name a domain
//! that is not there beside one that is). 137 is the shell's number for a process that was killed;
//! the next xmem on that domain finishes or undoes what it finds.
//!
//! # What is not like Xen
//!
//! A transaction sees the tree as it was at its start, as oxenstored's does, and conflicts by C
//! xenstored's rule, which is the stricter one. There are no permissions, no watches and no quotas.
//! A PoD guest does not populate its memory by itself. Of many balloons that move at once, sixteen are moved
//! in each millisecond: where 10,000 move, what is told of one can be most of a second old.

mod busy;
mod domains;
mod error;
mod fault;
mod folder;
mod guest;
mod hypervisor;
mod journal;
mod kept;
mod record;
mod regular;
#[expect(clippy::module_inception, reason = "it is the sim, and the rest are its parts")]
mod sim;
mod snapshot;
mod start;
mod step;
mod store;
mod sum;
#[cfg(test)]
mod tests;
mod tree;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::busy::Busy;
pub use self::error::SimError;
pub use self::fault::{Fault, Faults, VARIABLE};
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
    /// Held until the end, for `lock-busy`.
    _busy: Option<Busy>,
}

impl SimHost {
    /// Whether there is a world in `dir`. Never makes one.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(folder::WORLD).is_file()
    }

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
        let busy = if sim.faults.has(Fault::LockBusy) {
            Some(sim.with(|world| Busy::take(world, &state_dir))??)
        } else {
            None
        };
        let hypervisor = SimHypervisor::new(Arc::clone(&sim));
        Ok(Self { sim, hypervisor, state_dir, _busy: busy })
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
