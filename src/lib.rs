//! xmem: a running Xen domain's memory target and limit, changed together.
//!
//! The parts, from the words a user types to what is done to the host; nothing here imports what
//! stands below it in this list's reverse:
//!
//! 1. [`size`], [`domain`], [`harmless`]: sizes with their unit, domids, UUIDs, how a user names a domain,
//!    and how others' text is shown;
//! 2. [`xenstore`], [`hypervisor`]: the two seams to a host, as traits, and the real things behind them;
//! 3. [`lock`], [`intent`], [`signals`]: what keeps others out, and what survives a kill;
//! 4. [`plan`]: pure; what was read and what was asked become a plan, or a refusal;
//! 5. [`change`]: the protocol, readable from top to bottom;
//! 6. [`balloon`]: waiting until the guest has followed;
//! 7. [`overview`], [`remark`], [`check`]: all domains at once, what is off about them, what mends it;
//! 8. [`host`]: the real Xen host, and the embedded sim, behind the same seams;
//! 9. [`error`]: everything that can go wrong, its exit code and its hint.

pub mod apply;
pub mod audit;
pub mod balloon;
pub mod batch;
pub mod change;
pub mod check;
pub mod domain;
pub mod error;
pub mod harmless;
pub mod host;
pub mod hypervisor;
pub mod intent;
pub mod leftover;
pub mod lock;
pub mod nodes;
pub mod overview;
pub mod plan;
mod process;
pub mod remark;
pub mod resolve;
pub mod settle;
pub mod signals;
pub mod size;
pub mod xenstore;
