//! What is found on a simulated host: by a survey, by a monitor, by a check, and what a repair makes of it.
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
