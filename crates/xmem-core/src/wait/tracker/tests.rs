#![expect(
    clippy::arithmetic_side_effects,
    clippy::unchecked_time_subtraction,
    reason = "a test may overflow"
)]

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1024;
/// A target of 512 MiB and 16 MiB of video memory.
const WANTED: Kib = Kib::from_mib(528);
const START: Kib = Kib::from_mib(1024);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy(patience: u64, at_most: Option<u64>) -> WaitPolicy {
    WaitPolicy {
        patience: secs(patience),
        at_most: at_most.map(secs),
        within: Kib(MIB),
        lock_timeout: secs(60),
    }
}

fn tracker(patience: u64, at_most: Option<u64>) -> ProgressTracker {
    ProgressTracker::new(policy(patience, at_most), WANTED, START)
}

fn running(at: Duration, current: u64) -> Poll {
    Poll { at, current: Kib(current), state: State::Running, follows: Follows::Now }
}

fn halted(at: u64, state: State) -> Poll {
    Poll { at: secs(at), current: START, state, follows: Follows::Later }
}

fn waits(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Wait(_))
}

#[test]
fn a_guest_within_the_tolerance_has_reached_its_target_on_either_side() {
    for (kib, reached) in [
        (528 * MIB, true),
        (529 * MIB, true),
        (529 * MIB + 4, false),
        (527 * MIB, true),
        (527 * MIB - 4, false),
        (512 * MIB, false),
        (0, false),
    ] {
        let verdict = tracker(30, None).judge(running(secs(0), kib));
        assert_eq!(verdict == Verdict::Reached, reached, "{kib}");
    }
    let near = WaitPolicy { within: Kib(16 * MIB), ..policy(30, None) };
    let poll = running(secs(0), 544 * MIB);
    assert_eq!(ProgressTracker::new(near, WANTED, START).judge(poll), Verdict::Reached);
}

#[test]
fn a_guest_without_progress_is_stuck_when_patience_is_over() {
    let mut tracker = tracker(30, None);
    for at in 0..30 {
        assert!(waits(tracker.judge(running(secs(at), START.0))), "{at}");
    }
    assert_eq!(tracker.judge(running(secs(30), START.0)), Verdict::Stuck);
    assert!(!tracker.has_moved());
}

#[test]
fn progress_restarts_patience_and_wavering_does_not() {
    let mut tracker = tracker(30, None);
    assert!(waits(tracker.judge(running(secs(29), 1000 * MIB))));
    assert!(tracker.has_moved());
    assert!(waits(tracker.judge(running(secs(58), 1000 * MIB - 4))));
    // Away from the target, and back to the same distance.
    assert!(waits(tracker.judge(running(secs(70), 1010 * MIB))));
    assert!(waits(tracker.judge(running(secs(87), 1000 * MIB - 4))));
    assert_eq!(tracker.judge(running(secs(88), 1000 * MIB)), Verdict::Stuck);
}

#[test]
fn a_guest_that_overshoots_is_waited_for() {
    let mut tracker = tracker(30, None);
    assert!(waits(tracker.judge(running(secs(1), 400 * MIB))));
    assert_eq!(tracker.judge(running(secs(2), 528 * MIB)), Verdict::Reached);
}

#[test]
fn the_time_bound_ends_the_wait_for_a_guest_that_makes_progress() {
    let mut tracker = tracker(30, Some(10));
    for at in 0..10 {
        let verdict = tracker.judge(running(secs(at), (1024 - at) * MIB));
        assert!(matches!(verdict, Verdict::Wait(rest) if rest <= secs(10 - at)));
    }
    assert_eq!(tracker.judge(running(secs(10), 900 * MIB)), Verdict::TimedOut);
    // A guest at its target has reached it, however late that is seen.
    assert_eq!(tracker.judge(running(secs(99), 528 * MIB)), Verdict::Reached);
}

#[test]
fn a_time_bound_of_zero_is_one_poll() {
    assert_eq!(tracker(30, Some(0)).judge(running(secs(0), START.0)), Verdict::TimedOut);
    assert_eq!(tracker(30, Some(0)).judge(running(secs(0), WANTED.0)), Verdict::Reached);
    assert_eq!(tracker(0, None).judge(running(secs(0), START.0)), Verdict::Stuck);
}

#[test]
fn polls_are_frequent_at_first() {
    let mut tracker = tracker(30, None);
    let mut rests = [0, 1, 4, 8, 25].map(|at| tracker.judge(running(secs(at), START.0)));
    let rest = |millis| Verdict::Wait(Duration::from_millis(millis));
    assert_eq!(rests, [rest(100), rest(125), rest(500), rest(1000), rest(1000)]);
    // No poll is later than the end of patience.
    rests[0] = tracker.judge(running(Duration::from_millis(29_990), START.0));
    assert_eq!(rests[0], rest(10));
}

#[test]
fn patience_does_not_run_while_the_domain_is_paused() {
    let mut tracker = tracker(2, Some(60));
    assert!(waits(tracker.judge(running(secs(0), START.0))));
    for at in 1..50 {
        assert!(waits(tracker.judge(halted(at, State::Paused))), "{at}");
    }
    assert!(waits(tracker.judge(running(secs(50), START.0))));
    assert!(waits(tracker.judge(running(secs(51), START.0 - 4))));
    assert!(waits(tracker.judge(running(secs(52), START.0 - 4))));
    assert_eq!(tracker.judge(running(secs(53), START.0 - 4)), Verdict::Stuck);
}

#[test]
fn a_wait_without_a_bound_ends_after_a_few_seconds_of_pause() {
    let mut tracker = tracker(30, None);
    for at in 0..5 {
        assert!(waits(tracker.judge(halted(at, State::Paused))), "{at}");
    }
    // Each pause has its own few seconds.
    assert!(waits(tracker.judge(running(secs(5), START.0))));
    for at in 6..11 {
        assert!(waits(tracker.judge(halted(at, State::Paused))), "{at}");
    }
    assert_eq!(tracker.judge(halted(11, State::Paused)), Verdict::Halted);
}

#[test]
fn a_suspension_is_waited_out_for_the_time_of_patience() {
    let mut tracker = tracker(30, None);
    for at in 0..30 {
        assert!(waits(tracker.judge(halted(at, State::Suspended))), "{at}");
    }
    assert_eq!(tracker.judge(halted(30, State::Suspended)), Verdict::Halted);
}

#[test]
fn a_guest_that_never_runs_again_is_not_waited_for() {
    for state in [State::ShutDown, State::Crashed] {
        let poll = Poll { follows: Follows::Never, ..halted(0, state) };
        assert_eq!(tracker(30, Some(60)).judge(poll), Verdict::Stopped);
        // Unless it has reached its target.
        let there = Poll { current: WANTED, ..poll };
        assert_eq!(tracker(30, None).judge(there), Verdict::Reached);
    }
}

#[test]
fn a_rebooting_domain_that_is_preserved_is_given_up_soon() {
    let mut tracker = tracker(30, Some(600));
    assert!(waits(tracker.judge(halted(0, State::ShutDown))));
    assert_eq!(tracker.judge(halted(5, State::ShutDown)), Verdict::Halted);
}

proptest! {
    /// For any guest, with a pause between any two polls.
    #[test]
    fn every_wait_ends_in_time(
        (patience, at_most) in (1_u64..100, prop::option::of(1_u64..100)),
        path in prop::collection::vec(0_u64..2048, 1..50),
    ) {
        let mut tracker = tracker(patience, at_most);
        let (mut now, mut moved, mut nearest) = (Duration::ZERO, Duration::ZERO, u64::MAX);
        for poll in 0.. {
            let current = Kib::from_mib(path[poll % path.len()]);
            let distance = current.0.abs_diff(WANTED.0);
            if distance < nearest.min(START.0 - WANTED.0) {
                (moved, nearest) = (now, distance);
            }
            match tracker.judge(running(now, current.0)) {
                Verdict::Wait(rest) => {
                    prop_assert!(!rest.is_zero() && rest <= LONGEST);
                    now += rest;
                    prop_assert!(at_most.is_none_or(|most| now <= secs(most)));
                    prop_assert!(now - moved <= secs(patience));
                }
                Verdict::Reached => {
                    prop_assert!(distance <= MIB);
                    break;
                }
                Verdict::Stuck => {
                    prop_assert_eq!(now - moved, secs(patience));
                    break;
                }
                Verdict::TimedOut => {
                    prop_assert_eq!(Some(now), at_most.map(secs));
                    break;
                }
                verdict => prop_assert!(false, "{:?} of a running guest", verdict),
            }
        }
    }

    /// It always makes progress in time.
    #[test]
    fn slow_is_not_stuck(gaps in prop::collection::vec(0_u64..30_000, 1..200)) {
        let mut tracker = tracker(30, None);
        let mut now = Duration::ZERO;
        for (step, gap) in (1..).zip(gaps) {
            now += Duration::from_millis(gap);
            let verdict = tracker.judge(running(now, START.0 - 4 * step));
            prop_assert!(waits(verdict), "{:?}", verdict);
        }
    }

    /// Of any length, between polls.
    #[test]
    fn pauses_do_not_use_up_patience(pauses in prop::collection::vec(1_u64..1000, 1..20)) {
        let mut tracker = tracker(100, Some(u64::MAX / 2));
        let mut now = 0;
        for pause in pauses {
            for at in [now, now + pause] {
                prop_assert!(waits(tracker.judge(halted(at, State::Paused))));
            }
            now += pause;
            prop_assert!(waits(tracker.judge(running(secs(now), START.0))));
        }
    }

    #[test]
    fn no_poll_panics(
        patience: u64, at_most: Option<u64>, wanted: u64, from: u64, polls: Vec<(u64, u64, u8)>,
    ) {
        let mut tracker =
            ProgressTracker::new(policy(patience, at_most), Kib(wanted), Kib(from));
        for (at, current, state) in polls {
            let states = [State::Running, State::Paused, State::Suspended, State::ShutDown];
            let state = states[usize::from(state) % states.len()];
            let poll = Poll { at: secs(at), current: Kib(current), state, follows: state.follows() };
            tracker.judge(poll);
        }
    }
}
