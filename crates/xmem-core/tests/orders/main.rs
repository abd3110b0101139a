//! Exhaustive search: the real change, not a model of it, in every interleaving of two changes and around every
//! failure; and three changes at random.
//!
//! The explorer is shuttle. It runs ordinary code and tries all schedules one by one. It switches between changes where
//! it is asked to: before each call to the host, and at each wait for the lock. loom would need its own primitives in
//! place of the code's, and searches the orders of memory accesses, which processes do not share. stateright checks a
//! model, which would have to be kept in line with the code.
//!
//! `cargo test --release -p xmem-core --test orders -- --nocapture` prints how much was searched. `XMEM_ORDERS_SEEDS`
//! is the number of seeds for three changes, starting at `XMEM_ORDERS_SEED`. `XMEM_ORDERS_FULL` searches around each
//! failure with as many switches as without one.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod injection;
#[cfg(test)]
#[path = "../change/kill_switch.rs"]
mod kill_switch;
#[cfg(test)]
mod process;
#[cfg(test)]
mod race;
#[cfg(test)]
mod search;
#[cfg(test)]
mod serial;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod three;
#[cfg(test)]
mod two;
