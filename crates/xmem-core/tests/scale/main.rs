//! The cost of surveys, checks, monitors and waits for 10 to 1,000 domains, as counts of requests, round trips and
//! hypercalls. Unlike times, counts are exact.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod counts;
#[cfg(test)]
mod host;
