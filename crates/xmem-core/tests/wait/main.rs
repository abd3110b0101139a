//! Waits for guests, by a clock that the test moves: the sim's balloons move by it, too.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod cost;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod states;
#[cfg(test)]
mod waking;
