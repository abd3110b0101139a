//! The change itself, on a sim whose every call can be watched, failed, or be the moment at which
//! somebody else does something.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod earlier;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod its_word;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod mend;
#[cfg(test)]
mod nudge;
#[cfg(test)]
mod order;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod torn;
#[cfg(test)]
mod wait;
#[cfg(test)]
mod watched;
