//! What holds for any input: properties, each against an oracle that is slow and simple, and every input that a fuzzer has
//! kept.
//!
//! `PROPTEST_CASES` says how many cases each property gets.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod words;
