//! Every order: the real change, not a model of it, under every interleaving of two changes, around every failure, and
//! three at random.
//!
//! By shuttle: it runs ordinary code, switches between changes where it is told to (here: before each call to the host, and
//! where the lock is waited for), and goes through all schedules one by one. loom would want every primitive that the code
//! uses replaced by its own, and searches the orders of memory accesses, of which processes that share a store and a
//! hypervisor have none; stateright checks a model, which would have to be kept like the code.
//!
//! `cargo test --release -p xmem-core --test orders -- --nocapture` says how much was searched. `XMEM_ORDERS_SEEDS` is the
//! number of seeds for three changes, from `XMEM_ORDERS_SEED` on; with `XMEM_ORDERS_FULL` set, each failure is searched
//! around as closely as peace is.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
#[path = "../change/death.rs"]
mod death;
#[cfg(test)]
mod mishap;
#[cfg(test)]
mod play;
#[cfg(test)]
mod process;
#[cfg(test)]
mod race;
#[cfg(test)]
mod serial;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod three;
#[cfg(test)]
mod two;
