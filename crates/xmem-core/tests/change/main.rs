//! The change itself, on a host whose every call can be watched, failed, or be the moment at which another program does
//! something.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod death;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod guest_writable;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod interrupts;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod order;
#[cfg(test)]
mod other_limits;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod states;
#[cfg(test)]
mod wake;
#[cfg(test)]
mod wire;
