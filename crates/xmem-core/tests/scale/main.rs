//! What surveys, checks, monitors and waits cost, for 10 to 1,000 domains: requests and round trips of the real client,
//! and calls of the hypervisor, counted. Counts are exact where times are not.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod counts;
#[cfg(test)]
mod host;
