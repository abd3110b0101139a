//! Text from outside, any of it: properties, each against a slow and simple oracle, and every input that the fuzzer has
//! kept.
//!
//! `PROPTEST_CASES` says how many cases each property gets.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod targets;
