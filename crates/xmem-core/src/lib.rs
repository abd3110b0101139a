//! Change a running Xen domain's memory: its target and the hypervisor's limit, kept in step.
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
pub mod used;
pub mod wait;
