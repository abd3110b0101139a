//! Talk to Xen from its control domain: hypercalls, xenstore with transactions and watches, and libxl's per-domain lock.
//!
//! The crate needs neither libxenctrl nor libxenstore: it uses `/dev/xen/privcmd` and xenstored's socket itself, on x86-64
//! and arm64, with every Xen from 4.11 on. Everything is synchronous. Every wait has a deadline. Every type can be used
//! from any thread.
//!
//! * [`hypervisor`]: the calls that setting a domain's memory takes; [`Privcmd`](hypervisor::Privcmd) makes them.
//! * [`xenstore`]: nodes, transactions and watches; [`Client`](xenstore::Client) implements the protocol.
//! * [`lock`]: libxl's userdata lock, with which a program can work beside `xl` and libvirt.
//! * [`userdata`]: the names of libxl's per-domain files.
//! * [`Host`]: the three together; [`XenHost`] is the host of this control domain.
//!
//! Amounts of memory are [`Kib`]. Xen pages are 4 KiB on every machine.
//!
//! # Example
//! Lower a PV guest's target and limit to 512 MiB as libxl does: under its lock, in a transaction.
//!
//! ```no_run
//! use std::time::Duration;
//! use xen::lock::Lock;
//! use xen::{DomId, Host, Kib, NoInterrupt, XenHost};
//!
//! let host = XenHost::open()?;
//! let domid = DomId::new(7).ok_or("no domid")?;
//! let web = host.hypervisor().domain(domid)?.ok_or("no such domain")?;
//!
//! let lock = Lock::take(host.state_dir(), web.identity, Duration::from_secs(60), &NoInterrupt)?;
//! let same = host.hypervisor().domain(domid)?.filter(|info| info.identity == web.identity);
//! let before = same.ok_or("the domain is gone")?.limit;
//!
//! let store = host.connect()?;
//! let transaction = store.begin()?;
//! let memory = format!("/vm/{}/memory", web.identity.uuid);
//! transaction.write_each(&[("/local/domain/7/memory/target", "524288"), (&memory, "512")])?;
//! host.hypervisor().set_limit(domid, Kib::from_mib(512 + 1))?;
//! if let Err(error) = transaction.commit() {
//!     // The old limit is the larger one: right with either target, even if the commit's outcome is not known.
//!     host.hypervisor().set_limit(domid, before)?;
//!     return Err(error.into());
//! }
//! drop(lock);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod domain;
pub mod escape;
mod host;
pub mod hypervisor;
mod interrupt;
pub mod lock;
pub mod size;
pub mod userdata;
pub mod xenstore;

pub use uuid::Uuid;

pub use self::domain::{DomId, Identity};
pub use self::host::{Dom0, DomainList, Host, XenHost};
pub use self::interrupt::{Interrupt, NoInterrupt};
pub use self::size::{Kib, Mib};
