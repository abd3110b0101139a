//! A simulated Xen host: one [`World`], in a file or in memory.
//!
//! [`SimHost`] implements [`xen::Host`]. `xmem --host sim[:DIR]` works on it, to try xmem and to test scripts without Xen
//! and without root; and it is the fake host of xmem's own tests. It is made for tens of domains.
//!
//! ```
//! use xen::{Host as _, Kib};
//! use xmem_sim::SimHost;
//!
//! let dir = tempfile::tempdir()?;
//! let host = SimHost::open(Some(&dir.path().join("sim")))?;
//! let store = host.connect()?;
//! store.write_each(&[("/local/domain/7/memory/target", "524288")])?;
//! // The balloon of `web` moves from now on, also while no process looks.
//! let web = host.hypervisor().domains()?[1];
//! assert!(web.current <= Kib::from_mib(1024));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A test shares a world with one host or several, and has each call shown to an [`Observer`] first:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use xen::{DomId, Host as _, Kib};
//! use xmem_sim::{Call, Failure, Faults, SimHost, Verdict, World};
//!
//! let world = Arc::new(Mutex::new(World::start()));
//! let host = SimHost::in_memory(&world, "/nonexistent".as_ref(), Faults::default());
//! let host = host.observed_by(Arc::new(|call: &Call<'_>| match call {
//!     Call::SetLimit(..) => Verdict::ProceedAndFail(Failure::Closed),
//!     _ => Verdict::Proceed,
//! }));
//! let web = DomId::new(7).unwrap();
//! assert!(host.hypervisor().set_limit(web, Kib(4096)).is_err());
//! assert_eq!(world.lock().unwrap().domains[&7].limit_kib, Kib(4096));
//! ```
//!
//! # The directory
//!
//! Without DIR it is the user's own, [`SimHost::default_dir`]. It lasts until it is removed, and is shared by all
//! processes of the user. A DIR that does not exist is created; one that holds something else is refused. So is, for
//! root, one of another user.
//!
//! | name | what |
//! | --- | --- |
//! | `world.json` | the host: memory, domains, xenstore |
//! | `world.lock` | locked while the world is read or replaced |
//! | `world.json.new` | the next world, for a moment; a leftover means nothing |
//! | `lib` | stands for `/var/lib/xen`: libxl's locks, and records of changes |
//!
//! # The world
//!
//! A new directory starts with [`World::start`]: a host of 16 GiB with dom0 (2 GiB, no limit), `web` (domain 7, PVH,
//! 1 GiB of 2), `db` (8, PV, 2 GiB of 4) and `win` (9, HVM, 2 GiB, 16 MiB of them for video), all in step. With
//! `XMEM_SIM_WORLD=states` it is [`World::states`], which adds domains that are paused, building (received by a
//! migration, with claimed memory), suspended, shut down, crashed, dying and populating on demand, one with a guest agent,
//! and a stub domain. The default directory has another name then, so that `XMEM_SIM_WORLD=states xmem --host sim list`
//! shows them whatever was there before.
//!
//! `world.json` may be edited while no xmem runs, or written by hand. The fields are those of [`World`], [`SimDomain`] and
//! [`Dom0Kernel`]; a field of a domain that is left out has its [default](SimDomain::default).
//!
//! | field | value |
//! | --- | --- |
//! | `version` | 1 |
//! | `memory_kib` | all memory of the host |
//! | `dom0` | `kernel` (`[6, 12]`), `balloon_target_kib` (set by hand in dom0's sysfs), `direct_mapped` |
//! | `domains` | by domid; removing one destroys it |
//! | `uuid`, `type` | `type` is `pv`, `pvh` or `hvm` |
//! | `current_kib`, `limit_kib`, `outstanding_kib` | 17179869180 is no limit |
//! | `pod_cache_kib`, `pod_entries_kib`, `passthrough` | populate on demand; with `passthrough` its target cannot be set |
//! | `paused`, `dying`, `shutdown` | `shutdown` is `null`, `power-off`, `reboot`, `suspend`, `crash`, `watchdog` or `soft-reset` |
//! | `vcpus`, `cpu_time_ms` | both 0, and paused: the domain is being built |
//! | `owns_nodes` | the guest may write its own nodes in xenstore |
//! | `balloon`, `rate_kib_per_second` | whether the guest has a balloon driver, and how fast it is: 0 is not at all, 18446744073709551615 at once |
//! | `xenstore` | values by path; parents need not be listed |
//! | `moving_since_ms`, `generations`, `generation` | kept by the sim |
//!
//! # Faults
//!
//! `XMEM_SIM_FAULT` is a list of these words with commas. The exit code is that of `xmem set` on one domain.
//!
//! | word | what happens | exit code |
//! | --- | --- | --- |
//! | `lock-busy` | this process itself holds every domain's lock | 5 |
//! | `no-xen` | there is no privcmd device | 7 |
//! | `no-permission` | the privcmd device cannot be opened (EACCES) | 7 |
//! | `not-control` | every hypercall is refused (EPERM), as in a guest | 7 |
//! | `gone` | each domain but dom0 is gone at the second look | 3 |
//! | `limit-refused` | the limit cannot be set (EPERM) | 7 |
//! | `pod-refused` | the PoD target cannot be set (ENOMEM) | 1 |
//! | `store-down` | xenstored is unreachable | 7 |
//! | `store-full` | xenstored refuses every write (ENOSPC) | 1 |
//! | `conflict` | every commit conflicts (EAGAIN) | 6 |
//! | `conflict-once` | the first commit conflicts | 0 |
//! | `commit-lost-done` | the connection closes during the first commit, which is carried out | 0 |
//! | `commit-lost-undone` | the same, and it is not carried out | 1 |
//! | `commit-unknown` | the same, and xenstored stays unreachable | 9 |
//! | `commit-unknown-done` | the first commit is carried out, but xenstored is unreachable from then on | 9 |
//! | `kill-before-commit` | the process is killed before its first commit: the limit is set, the target is not | 137 |
//! | `kill-after-commit` | the process is killed after its first commit: all is set, nothing is cleaned up | 137 |
//! | `guest-ignores` | no balloon moves | 0; 8 with `--wait` |
//! | `host-full` | the host has no free memory: no balloon grows, and no PoD cache | 0; 8 with `--wait` for more |
//!
//! 137 is the shell's code for a process that was killed; the next xmem on that domain completes the change or rolls it
//! back. Exit codes 4 and 10 need no fault: ask for more than `memory/static-max`, or name a missing domain beside another.
//!
//! # What differs from Xen
//!
//! A balloon does not miss: it moves evenly and reaches its target. A PoD guest does not populate memory by itself, cpu
//! time stands still, and a domain stays in its state until somebody edits the world. xenstore has no quotas, its values
//! are text, and it knows one permission per domain (`owns_nodes`).

mod balloon;
mod directory;
mod error;
mod fault;
mod host;
mod hypervisor;
mod observer;
mod sim;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod world;
mod xenstore;
#[cfg(any(test, feature = "testing"))]
mod xenstored;

pub use self::error::SimError;
pub use self::fault::{Fault, Faults};
pub use self::host::SimHost;
pub use self::observer::{Call, Failure, Observer, Verdict};
pub use self::start::StartWorld;
pub use self::world::{Dom0Kernel, GuestType, SimDomain, World};
#[cfg(any(test, feature = "testing"))]
pub use self::xenstored::{Counts, WireHost, Xenstored};
