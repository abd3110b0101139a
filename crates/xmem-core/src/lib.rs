//! Change a running Xen domain's memory: its target and the hypervisor's limit, kept in step.
//!
//! ```
//! use std::time::Duration;
//! use std::sync::{Arc, Mutex};
//!
//! use xen::NoInterrupt;
//! use xmem_core::change::{ChangeRequest, ChangeSession};
//! use xmem_core::plan::MemoryRequest;
//! use xmem_sim::{Faults, SimHost, World};
//!
//! // On a real host: `xen::XenHost::open()?`.
//! let dir = tempfile::tempdir()?;
//! let host = SimHost::in_memory(&Arc::new(Mutex::new(World::start())), dir.path(), Faults::default());
//!
//! let request = ChangeRequest {
//!     domain: "web".parse()?,
//!     memory: MemoryRequest::Set { size: "512M".parse()?, raise_max: false, force: false },
//!     keep_free: None,
//!     dry_run: false,
//!     lock_timeout: Duration::from_mins(1),
//! };
//! let outcome = ChangeSession::new(&host).change(&request, &NoInterrupt)?;
//! assert_eq!(outcome.plan.new.to_string(), "target 512 MiB, static-max 2048 MiB, limit 513 MiB");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each module uses only those above it:
//!
//! 1. [`size`], [`domain`]: what a user writes;
//! 2. [`memory`], [`state`], [`resolve`]: what a domain is, has and does;
//! 3. [`plan`], [`intent`], [`recovery`]: what is to be written, what is recorded, what a killed run left;
//! 4. [`failure`], [`change`]: the protocol;
//! 5. [`wait`], [`diagnosis`], [`used`], [`survey`], [`check`], [`batch`], [`apply`], [`reclaim`]: what is built on it.

pub mod apply;
pub mod batch;
pub mod change;
pub mod check;
pub mod diagnosis;
pub mod domain;
pub mod failure;
pub mod intent;
pub mod memory;
pub mod plan;
pub mod reclaim;
pub mod recovery;
pub mod resolve;
pub mod size;
pub mod state;
pub mod survey;
#[cfg(test)]
mod testing;
mod used;
pub mod wait;
