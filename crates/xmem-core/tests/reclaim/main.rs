//! `reclaim` on the simulated host: who gives how much, and what becomes of it.

#[cfg(test)]
mod planning;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod running;
#[cfg(test)]
#[path = "../testbed/mod.rs"]
mod testbed;
