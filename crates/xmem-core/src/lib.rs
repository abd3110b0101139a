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
//! Start at [`change`], which follows the steps of docs/protocol.md, and [`plan`], its arithmetic and safety rules.
//! Each layer uses only the layers above it:
//!
//! | layer | modules |
//! | --- | --- |
//! | user input | [`size`] (SIZE), [`domain`] (DOMAIN), [`batch`] (the file of `apply`) |
//! | a domain | `used` (what the guest reports as used), [`memory`] (its nodes and numbers), [`state`] (running, paused, building), [`resolve`] (name or UUID to domid) |
//! | decisions | [`intent`] (the record of a change), [`recovery`] (the limit after a failure or a kill), [`plan`] |
//! | the protocol | [`failure`], `underway` (guests on their way to their targets), [`change`] |
//! | reading a host | [`diagnosis`] (the findings about a domain), [`survey`] (`list`, `watch`) |
//! | several domains | [`wait`], [`check`], [`apply`], [`reclaim`] |

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
mod underway;
mod used;
pub mod wait;
