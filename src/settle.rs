//! A change that was cut off: what the store shows of it, and what its limit has to be. Pure.
//!
//! Owns the reading of an intent. Never touches a host.

use std::fmt;
use std::path::PathBuf;

use crate::intent::{Intent, Numbers};
use crate::plan::Reading;
use crate::size::Kib;

/// What a killed run left, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Its target stands: the limit was brought forward.
    Finished(Kib),
    /// Its target never came: the limit was put back.
    Undone(Kib),
    /// Somebody has set the memory since: the record was dropped.
    Overtaken(Kib),
    /// A record that this xmem does not understand, now out of the way.
    Foreign(PathBuf, String),
    /// It was left alone: this was a dry run.
    Waiting(PathBuf),
}

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished(limit) => {
                write!(
                    f,
                    "an earlier xmem was cut off after its commit; the limit is {limit}, as it meant"
                )
            }
            Self::Undone(limit) => {
                write!(
                    f,
                    "an earlier xmem was cut off before its commit; the limit was put back to {limit}"
                )
            }
            Self::Overtaken(limit) => write!(
                f,
                "an earlier xmem was cut off, and the memory was set since; the limit is {limit}"
            ),
            Self::Foreign(path, why) => write!(
                f,
                "a record that xmem does not understand ({why}) was moved to {}",
                path.display()
            ),
            Self::Waiting(path) => {
                write!(
                    f,
                    "an earlier xmem was cut off ({}); the next change settles it",
                    path.display()
                )
            }
        }
    }
}

/// What the limit has to be after a change that was cut off: the store tells how far it came.
/// Whatever it is, it is not below what the domain's target needs.
pub(crate) fn settlement(reading: &Reading, intent: &Intent) -> (Kib, fn(Kib) -> Earlier) {
    let (limit, earlier): (_, fn(Kib) -> Earlier) = match Stand::of(reading, intent.old, intent.new)
    {
        Stand::New => (intent.new.limit, Earlier::Finished),
        Stand::Old => (intent.old.limit, Earlier::Undone),
        Stand::Neither => (reading.info.limit, Earlier::Overtaken),
    };
    (limit.max(reading.least_limit()), earlier)
}

/// Which side of a change the store shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// As before.
    Old,
    /// As wanted.
    New,
    /// Something else: somebody without the lock.
    Neither,
}

impl Stand {
    /// The side that `reading` shows of a change from `old` to `new`.
    pub(crate) fn of(reading: &Reading, old: Numbers, new: Numbers) -> Self {
        let shows = |numbers: Numbers| {
            (reading.target, reading.static_max) == (numbers.target, numbers.static_max)
        };
        // New first: a change of the limit alone looks the same on both sides, and was wanted.
        if shows(new) {
            Self::New
        } else if shows(old) {
            Self::Old
        } else {
            Self::Neither
        }
    }
}
