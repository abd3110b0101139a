//! Survey, monitor, check and repair of a simulated host.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod files;
#[cfg(test)]
mod findings;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod survey;
