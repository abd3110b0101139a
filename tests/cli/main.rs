//! The command line as a user sees it: arguments in; output, exit code and the host's state out.
//! Every test runs the program on the sim, in an empty environment.
//!
//! `SNAPSHOTS=overwrite cargo test --test cli` accepts changed output.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod apply;
#[cfg(test)]
mod check;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod domain;
#[cfg(test)]
mod exit;
#[cfg(test)]
mod help;
#[cfg(test)]
mod hints;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod json;
#[cfg(test)]
mod keep_free;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod list;
#[cfg(test)]
mod log;
#[cfg(test)]
mod max;
#[cfg(test)]
mod output;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod race;
#[cfg(test)]
mod reclaim;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod set;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod size;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod values;
#[cfg(test)]
mod wait;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod words;
