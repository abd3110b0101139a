//! Properties of the parsers for any text, each against a slow and simple oracle, and the fuzzer's corpus.
//!
//! `PROPTEST_CASES` is the number of cases per property.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod targets;
