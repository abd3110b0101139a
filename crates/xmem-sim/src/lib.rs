#![doc = include_str!("../README.md")]

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
#[cfg(any(test, feature = "testing"))]
mod testing;
#[cfg(test)]
mod tests;
mod world;
mod xenstore;

pub use xen::hypervisor::GuestType;

pub use self::error::SimError;
pub use self::fault::{Fault, Faults};
pub use self::host::SimHost;
pub use self::observer::{Call, Failure, Observer, Verdict};
pub use self::start::StartWorld;
#[cfg(any(test, feature = "testing"))]
pub use self::testing::{Counts, WireHost, Xenstored};
pub use self::world::{Dom0Kernel, SimDomain, World};
