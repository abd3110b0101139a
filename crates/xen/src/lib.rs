//! Talk to Xen from its control domain: hypercalls, xenstore with transactions, and libxl's per-domain lock.
//!
//! No libxenctrl, no libxenstore: the crate speaks to `/dev/xen/privcmd` and to xenstored's socket itself, on x86-64 and
//! on arm64, on every Xen from 4.11 on. Everything is synchronous, has a deadline, and is [`Send`].
//!
//! * [`hypervisor`]: the six calls that setting a domain's memory takes, with units; [`Privcmd`] makes them.
//! * [`xenstore`]: reading, writing, transactions and watches; [`Client`] speaks the protocol.
//! * [`lock`]: libxl's userdata lock, so that a program can work beside `xl` and libvirt.
//! * [`userdata`]: the names of libxl's per-domain files.
//! * [`Host`]: the three together; [`XenHost`] is the host that the program runs on.
//!
//! [`Privcmd`]: hypervisor::Privcmd
//! [`Client`]: xenstore::Client

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
