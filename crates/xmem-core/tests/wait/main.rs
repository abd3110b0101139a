//! Waits for guests, on a clock that the test advances and that also drives the sim's balloons.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod cost;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod nudging;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod states;
