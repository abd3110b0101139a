//! The change, on a host that can record each call, make it fail, or let another program act before it.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod guest_writable;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod interrupts;
#[cfg(test)]
mod kill_switch;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod nudge;
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
mod torn;
#[cfg(test)]
mod wire;
