//! When to go on waiting: progress counts, not the clock. Pure.
//!
//! Owns the judgement on what was seen when. Never looks itself, and never asks a clock.

use std::time::Duration;

use super::is_there;
use crate::size::Kib;

/// The shortest and the longest time between two looks. A guest of 100 MiB is there in no time, one of
/// 100 GiB is not, and each look costs two calls.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a guest that comes no nearer.
    pub still: Duration,
    /// For any guest; no bound if there is none.
    pub at_most: Option<Duration>,
}

/// What one look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the guest holds.
    pub current: Kib,
    /// `memory/target`.
    pub target: Option<Kib>,
}

/// What one look means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guest is where it should be.
    There,
    /// The target is another one.
    Overtaken,
    /// The guest has come no nearer for as long as patience lasts.
    Stuck,
    /// The time is up.
    TimeUp,
    /// Look again after so long.
    Wait(Duration),
}

/// A wait for one guest.
#[derive(Clone, Debug)]
pub struct Vigil {
    patience: Patience,
    target: Kib,
    wanted: Kib,
    /// How far away the guest was at first, and when it was nearest.
    first: u64,
    nearest: u64,
    nearer_at: Duration,
}

impl Vigil {
    /// For a guest that held `from` when its target became `target`, and that is `wanted` to hold that
    /// and its video memory. The times that follow count from now.
    pub const fn new(patience: Patience, target: Kib, wanted: Kib, from: Kib) -> Self {
        let far = wanted.0.abs_diff(from.0);
        let nearer_at = Duration::ZERO;
        Self { patience, target, wanted, first: far, nearest: far, nearer_at }
    }

    /// Whether the guest has come nearer at all.
    pub const fn has_moved(&self) -> bool {
        self.nearest < self.first
    }

    /// What `seen`, at a time that is not before the last one's, means.
    ///
    /// A guest moves when it is nearer than it has ever been: one that wavers does not.
    pub fn judge(&mut self, at: Duration, seen: Seen) -> Verdict {
        if seen.target != Some(self.target) {
            return Verdict::Overtaken;
        }
        if is_there(seen.current, self.wanted) {
            return Verdict::There;
        }
        let far = self.wanted.0.abs_diff(seen.current.0);
        if far < self.nearest {
            self.nearest = far;
            self.nearer_at = at;
        }
        let patient = self.patience.still.saturating_sub(at.saturating_sub(self.nearer_at));
        if patient.is_zero() {
            return Verdict::Stuck;
        }
        let left = self.patience.at_most.map_or(LONGEST, |most| most.saturating_sub(at));
        if left.is_zero() {
            return Verdict::TimeUp;
        }
        // An eighth of the wait so far more or less makes no difference to who waits.
        let rest = at.checked_div(8).unwrap_or_default().clamp(SHORTEST, LONGEST);
        Verdict::Wait(rest.min(left).min(patient))
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::unchecked_time_subtraction,
    reason = "a test may overflow"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024;
    const TARGET: Kib = Kib::from_mib(512);
    /// Target and 16 MiB of video memory.
    const WANTED: Kib = Kib::from_mib(528);
    const START: Kib = Kib::from_mib(1024);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn patience(still: u64, at_most: Option<u64>) -> Patience {
        Patience { still: secs(still), at_most: at_most.map(secs) }
    }

    fn vigil(still: u64, at_most: Option<u64>) -> Vigil {
        Vigil::new(patience(still, at_most), TARGET, WANTED, START)
    }

    fn holds(kib: u64) -> Seen {
        Seen { current: Kib(kib), target: Some(TARGET) }
    }

    #[test]
    fn within_one_mib_of_target_and_video_memory_on_either_side() {
        for (kib, there) in [
            (528 * MIB, true),
            (529 * MIB, true),
            (529 * MIB + 4, false),
            (527 * MIB, true),
            (527 * MIB - 4, false),
            (512 * MIB, false),
            (0, false),
        ] {
            let verdict = vigil(30, None).judge(secs(0), holds(kib));
            assert_eq!(verdict == Verdict::There, there, "{kib}");
        }
    }

    #[test]
    fn one_that_does_not_move_is_stuck_when_patience_ends() {
        let mut vigil = vigil(30, None);
        for at in 0..30 {
            let verdict = vigil.judge(secs(at), holds(START.0));
            assert!(matches!(verdict, Verdict::Wait(_)), "{at}: {verdict:?}");
        }
        assert_eq!(vigil.judge(secs(30), holds(START.0)), Verdict::Stuck);
        assert!(!vigil.has_moved());
    }

    #[test]
    fn movement_starts_patience_again_and_wavering_does_not() {
        let mut vigil = vigil(30, None);
        let waits = |verdict| matches!(verdict, Verdict::Wait(_));
        assert!(waits(vigil.judge(secs(29), holds(1000 * MIB))));
        assert!(vigil.has_moved());
        assert!(waits(vigil.judge(secs(58), holds(1000 * MIB - 4))));
        // Back, and again to where it was.
        assert!(waits(vigil.judge(secs(70), holds(1010 * MIB))));
        assert!(waits(vigil.judge(secs(87), holds(1000 * MIB - 4))));
        assert_eq!(vigil.judge(secs(88), holds(1000 * MIB)), Verdict::Stuck);
    }

    #[test]
    fn one_that_shoots_past_can_come_back() {
        let mut vigil = vigil(30, None);
        assert!(matches!(vigil.judge(secs(1), holds(400 * MIB)), Verdict::Wait(_)));
        assert_eq!(vigil.judge(secs(2), holds(528 * MIB)), Verdict::There);
    }

    #[test]
    fn the_bound_holds_for_one_that_moves_as_well() {
        let mut vigil = vigil(30, Some(10));
        for at in 0..10 {
            assert!(matches!(
                vigil.judge(secs(at), holds((1024 - at) * MIB)),
                Verdict::Wait(rest) if rest <= secs(10 - at)
            ));
        }
        assert_eq!(vigil.judge(secs(10), holds(900 * MIB)), Verdict::TimeUp);
        // Being there in time counts, however late it is seen.
        assert_eq!(vigil.judge(secs(99), holds(528 * MIB)), Verdict::There);
    }

    #[test]
    fn a_bound_of_nothing_is_one_look() {
        assert_eq!(vigil(30, Some(0)).judge(secs(0), holds(START.0)), Verdict::TimeUp);
        assert_eq!(vigil(30, Some(0)).judge(secs(0), holds(WANTED.0)), Verdict::There);
        assert_eq!(vigil(0, None).judge(secs(0), holds(START.0)), Verdict::Stuck);
    }

    #[test]
    fn another_target_ends_it_wherever_the_guest_is() {
        for target in [None, Some(Kib(TARGET.0 + 4)), Some(WANTED)] {
            let seen = Seen { current: WANTED, target };
            assert_eq!(vigil(30, None).judge(secs(0), seen), Verdict::Overtaken);
        }
    }

    #[test]
    fn looks_are_frequent_at_first() {
        let mut vigil = vigil(30, None);
        let mut rests = [0, 1, 4, 8, 25].map(|at| vigil.judge(secs(at), holds(START.0)));
        let rest = |millis| Verdict::Wait(Duration::from_millis(millis));
        assert_eq!(rests, [rest(100), rest(125), rest(500), rest(1000), rest(1000)]);
        // None goes beyond the end of patience.
        rests[0] = vigil.judge(Duration::from_millis(29_990), holds(START.0));
        assert_eq!(rests[0], rest(10));
    }

    proptest! {
        /// Whatever the guest does: the looks come to an end in time, and none of them is idle.
        #[test]
        fn it_ends(
            (still, at_most) in (1_u64..100, prop::option::of(1_u64..100)),
            path in prop::collection::vec(0_u64..2048, 1..50),
        ) {
            let mut vigil = vigil(still, at_most);
            let (mut now, mut moved, mut nearest) = (Duration::ZERO, Duration::ZERO, u64::MAX);
            for look in 0.. {
                let current = Kib::from_mib(path[look % path.len()]);
                let far = current.0.abs_diff(WANTED.0);
                if far < nearest.min(START.0 - WANTED.0) {
                    (moved, nearest) = (now, far);
                }
                match vigil.judge(now, Seen { current, target: Some(TARGET) }) {
                    Verdict::Wait(rest) => {
                        prop_assert!(!rest.is_zero() && rest <= LONGEST);
                        now += rest;
                        prop_assert!(at_most.is_none_or(|most| now <= secs(most)));
                        prop_assert!(now - moved <= secs(still));
                    }
                    Verdict::There => {
                        prop_assert!(far <= MIB);
                        break;
                    }
                    Verdict::Stuck => {
                        prop_assert_eq!(now - moved, secs(still));
                        break;
                    }
                    Verdict::TimeUp => {
                        prop_assert_eq!(Some(now), at_most.map(secs));
                        break;
                    }
                    Verdict::Overtaken => prop_assert!(false, "the target is the same"),
                }
            }
        }

        /// One that always comes nearer in time is always waited for.
        #[test]
        fn slow_is_not_stuck(gaps in prop::collection::vec(0_u64..30_000, 1..200)) {
            let mut vigil = vigil(30, None);
            let mut now = Duration::ZERO;
            for (step, gap) in (1..).zip(gaps) {
                now += Duration::from_millis(gap);
                let verdict = vigil.judge(now, holds(START.0 - 4 * step));
                prop_assert!(matches!(verdict, Verdict::Wait(_)), "{:?}", verdict);
            }
        }

        #[test]
        fn never_panics(
            still: u64, at_most: Option<u64>, target: u64, wanted: u64, from: u64, looks: Vec<(u64, u64)>,
        ) {
            let mut vigil = Vigil::new(patience(still, at_most), Kib(target), Kib(wanted), Kib(from));
            for (at, current) in looks {
                vigil.judge(secs(at), Seen { current: Kib(current), target: Some(Kib(target)) });
            }
        }
    }
}
