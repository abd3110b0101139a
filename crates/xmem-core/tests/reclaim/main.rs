//! `reclaim` on the simulated host: plans and their execution.

#[cfg(test)]
mod planning;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod running;
#[cfg(test)]
#[path = "../testbed/mod.rs"]
mod testbed;
