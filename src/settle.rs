//! A change that was cut off: what the store shows of it, and what its limit has to be. Pure.
//!
//! Owns the reading of an intent. Never touches a host.

use std::fmt;
use std::path::PathBuf;

use crate::harmless::harmless_path;
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
                harmless_path(path)
            ),
            Self::Waiting(path) => {
                write!(
                    f,
                    "an earlier xmem was cut off ({}); the next change settles it",
                    harmless_path(path)
                )
            }
        }
    }
}

/// What the limit has to be after a change that was cut off: the store tells how far it came.
/// Whatever it is, it is not below `floor`, what the domain's target needs.
pub(crate) fn settlement(
    reading: &Reading,
    floor: Kib,
    intent: &Intent,
) -> (Kib, fn(Kib) -> Earlier) {
    let (limit, earlier): (_, fn(Kib) -> Earlier) = match Stand::of(reading, intent.old, intent.new)
    {
        Stand::New => (intent.new.limit, Earlier::Finished),
        Stand::Old => (intent.old.limit, Earlier::Undone),
        Stand::Neither => (reading.info.limit, Earlier::Overtaken),
    };
    (limit.max(floor), earlier)
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

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{DomId, Identity, Uuid};
    use crate::hypervisor::{DomainInfo, UNLIMITED};

    const SLACK: u64 = 1024;

    fn numbers(target: u64, static_max: u64, limit: u64) -> Numbers {
        Numbers { target: Some(Kib(target)), static_max: Some(Kib(static_max)), limit: Kib(limit) }
    }

    fn reading(stored: Numbers, video: i32) -> Reading {
        let info = DomainInfo {
            identity: Identity { domid: DomId::DOM0, uuid: Uuid::default() },
            dying: false,
            paused: false,
            hvm: false,
            current: Kib(4096),
            limit: stored.limit,
            outstanding: Kib(0),
        };
        Reading { info, target: stored.target, static_max: stored.static_max, video }
    }

    fn intent(old: Numbers, new: Numbers) -> Intent {
        let side = |side: Numbers| serde_json::to_value(side).unwrap();
        let text =
            serde_json::json!({ "version": 1, "pid": 1, "old": side(old), "new": side(new) });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn every_side() {
        let small = numbers(4096, 16_384, 4096 + SLACK);
        let large = numbers(8192, 16_384, 8192 + SLACK);
        let raised = numbers(4096, 32_768, 32_768 + SLACK);
        let other = |limit| numbers(6144, 16_384, limit);
        let nothing = Numbers { target: None, static_max: None, limit: UNLIMITED };
        for (case, stored, old, new, limit, earlier) in [
            ("grew, before the limit", large, small, large, 8192 + SLACK, "Finished"),
            ("grew", Numbers { limit: Kib(4), ..large }, small, large, 8192 + SLACK, "Finished"),
            (
                "shrank",
                Numbers { limit: Kib(9999), ..small },
                large,
                small,
                4096 + SLACK,
                "Finished",
            ),
            (
                "did not grow",
                Numbers { limit: large.limit, ..small },
                small,
                large,
                4096 + SLACK,
                "Undone",
            ),
            (
                "did not shrink",
                Numbers { limit: small.limit, ..large },
                large,
                small,
                8192 + SLACK,
                "Undone",
            ),
            (
                "maximum raised",
                Numbers { limit: small.limit, ..raised },
                small,
                raised,
                32_768 + SLACK,
                "Finished",
            ),
            (
                "maximum not raised",
                Numbers { limit: raised.limit, ..small },
                small,
                raised,
                4096 + SLACK,
                "Undone",
            ),
            (
                "the limit alone",
                small,
                Numbers { limit: Kib(4), ..small },
                small,
                4096 + SLACK,
                "Finished",
            ),
            ("set since, enough", other(9999), small, large, 9999, "Overtaken"),
            ("set since, too small", other(4096), small, large, 6144 + SLACK, "Overtaken"),
            (
                "half of it set since",
                numbers(8192, 32_768, 4),
                small,
                large,
                8192 + SLACK,
                "Overtaken",
            ),
            ("dom0, filled in", large, nothing, large, 8192 + SLACK, "Finished"),
            (
                "dom0, not filled in",
                Numbers { limit: large.limit, ..nothing },
                nothing,
                large,
                UNLIMITED.0,
                "Undone",
            ),
            (
                "nodes gone since",
                Numbers { limit: Kib(8), ..nothing },
                small,
                large,
                8,
                "Overtaken",
            ),
        ] {
            let (to, which) = settled(&reading(stored, 0), &intent(old, new));
            assert_eq!(to, Kib(limit), "{case}");
            assert!(format!("{:?}", which(to)).starts_with(earlier), "{case}: {:?}", which(to));
        }
    }

    /// A record may be wrong, of another version, or forged: the guest must live all the same.
    #[test]
    fn never_below_what_the_target_needs() {
        let tiny = numbers(8192, 16_384, 4);
        let other = numbers(4096, 16_384, 4);
        for (old, new) in [(tiny, other), (other, tiny), (other, other)] {
            for (video, need) in [(0, 9216), (16_384, 25_600), (-1, 9212)] {
                let (limit, _) = settled(&reading(tiny, video), &intent(old, new));
                assert_eq!(limit, Kib(need), "{old:?}, {new:?}");
            }
        }
    }

    fn settled(reading: &Reading, intent: &Intent) -> (Kib, fn(Kib) -> Earlier) {
        settlement(reading, reading.least_limit(), intent)
    }

    prop_compose! {
        fn any_numbers()(
            target in proptest::option::of(0_u64..3), max in proptest::option::of(0_u64..3), limit in 0_u64..6,
        ) -> Numbers {
            let mib = |mib: u64| Kib(mib * 1024);
            Numbers { target: target.map(mib), static_max: max.map(mib), limit: mib(limit) }
        }
    }

    proptest! {
        /// One of the limits that were ever told, or what the target needs, whatever the record says.
        #[test]
        fn no_other_limit_is_thought_up(
            stored in any_numbers(), old in any_numbers(), new in any_numbers(), video in -1_i32..2048,
        ) {
            let reading = reading(stored, video);
            let (limit, _) = settled(&reading, &intent(old, new));
            let need = reading.least_limit();
            prop_assert!(limit >= need);
            prop_assert!([stored.limit, old.limit, new.limit, need].contains(&limit));
        }
    }
}
