//! A simulated Xen host: one [`World`] in one file, or in memory.
//!
//! [`SimHost`] implements [`xen::Host`]. It is what `xmem --host sim[:DIR]` works on, to try xmem and to test scripts
//! without Xen and without root; and it is the fake host of xmem's own tests. It is made for tens of domains.
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
mod world;
mod xenstore;

pub use self::error::SimError;
pub use self::fault::{FAULT_VARIABLE, Fault, Faults};
pub use self::host::SimHost;
pub use self::observer::{Call, Failure, Observer, Verdict};
pub use self::start::{StartWorld, WORLD_VARIABLE};
pub use self::world::{Dom0Kernel, GuestType, ShutdownReason, SimDomain, World};
