#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use proptest::prelude::*;
use xen::hypervisor::{DomainInfo, GuestType, UNLIMITED};

use super::*;

const SLACK: u64 = 1024;

fn numbers(target: u64, static_max: u64, limit: u64) -> Numbers {
    Numbers { target: Some(Kib(target)), static_max: Some(Kib(static_max)), limit: Kib(limit) }
}

fn memory(domid: u32, shown: Numbers, video: i32) -> Memory {
    let info =
        DomainInfo { guest_type: GuestType::Pv, limit: shown.limit, ..crate::testing::info(domid) };
    let (target, static_max) = (Ok(shown.target), Ok(shown.static_max));
    Memory { target, static_max, video: Ok(Some(video)), ..Memory::of(info) }
}

fn intent(old: Numbers, new: Numbers) -> Intent {
    let side = |side: Numbers| serde_json::to_value(side).unwrap();
    let text = serde_json::json!({ "version": 1, "pid": 1, "old": side(old), "new": side(new) });
    serde_json::from_value(text).unwrap()
}

fn recovered(memory: &Memory, old: Numbers, new: Numbers) -> Recovery {
    recover(memory, &intent(old, new), || Ok::<_, BadNode>(false)).unwrap().1
}

fn step(from: Numbers, to: Kib) -> LimitStep {
    LimitStep { from: from.limit, to }
}

#[test]
fn a_killed_change_is_completed_or_rolled_back_as_xenstore_shows() {
    let small = numbers(4096, 16_384, 4096 + SLACK);
    let large = numbers(8192, 16_384, 8192 + SLACK);
    let raised = numbers(4096, 32_768, 32_768 + SLACK);
    let limit = |numbers: Numbers, limit| Numbers { limit: Kib(limit), ..numbers };
    let nothing = Numbers { target: None, static_max: None, limit: UNLIMITED };
    for (case, shown, old, new, recovery, limit) in [
        (
            "grown",
            large,
            small,
            large,
            Recovery::Completed as fn(LimitStep) -> Recovery,
            large.limit,
        ),
        ("limit missing", limit(large, 5120), small, large, Recovery::Completed, large.limit),
        ("shrunk", limit(small, 9216), large, small, Recovery::Completed, small.limit),
        ("not grown", limit(small, 9216), small, large, Recovery::RolledBack, small.limit),
        ("limit never set", small, small, large, Recovery::RolledBack, small.limit),
        ("not shrunk", limit(large, 5120), large, small, Recovery::RolledBack, large.limit),
        ("maximum raised", raised, small, raised, Recovery::Completed, raised.limit),
        (
            "maximum not raised",
            limit(small, raised.limit.0),
            small,
            raised,
            Recovery::RolledBack,
            small.limit,
        ),
        ("limit alone", limit(small, 4), limit(small, 4), small, Recovery::Completed, small.limit),
        ("dom0 filled in", large, nothing, large, Recovery::Completed, large.limit),
        (
            "dom0 not filled in",
            limit(nothing, large.limit.0),
            nothing,
            large,
            Recovery::RolledBack,
            UNLIMITED,
        ),
    ] {
        let expected = recovery(step(shown, limit));
        assert_eq!(recovered(&memory(7, shown, 0), old, new), expected, "{case}");
    }
}

/// `xl mem-max` takes the same lock, and before Xen 4.17 changes the limit alone.
#[test]
fn a_limit_that_is_neither_old_nor_new_stays() {
    let small = numbers(4096, 16_384, 4096 + SLACK);
    let large = numbers(8192, 16_384, 8192 + SLACK);
    for shown in [small, large] {
        let shown = Numbers { limit: Kib(12_288), ..shown };
        for (old, new) in [(small, large), (large, small)] {
            let recovery = recovered(&memory(7, shown, 0), old, new);
            assert_eq!(
                recovery,
                Recovery::Superseded(step(shown, Kib(12_288))),
                "{shown}: {old} to {new}"
            );
        }
    }
}

#[test]
fn a_target_set_since_keeps_its_limit_unless_too_low() {
    let small = numbers(4096, 16_384, 4096 + SLACK);
    let large = numbers(8192, 16_384, 8192 + SLACK);
    for (shown, limit) in [
        (numbers(6144, 16_384, 9999), 9999),
        (numbers(6144, 16_384, 9216), 9216),
        (numbers(6144, 16_384, 4096), 6144 + SLACK),
        (numbers(6144, 16_384, 5120), 6144 + SLACK),
        (numbers(8192, 32_768, 4), 8192 + SLACK),
        (Numbers { target: None, static_max: None, limit: Kib(8) }, 8),
    ] {
        let recovery = recovered(&memory(7, shown, 0), small, large);
        assert_eq!(recovery, Recovery::Superseded(step(shown, Kib(limit))), "{shown}");
    }
}

/// A record may be wrong or forged, but the guest must keep running.
#[test]
fn no_record_lowers_a_limit_below_what_the_target_needs() {
    let tiny = numbers(8192, 16_384, 4);
    let other = numbers(4096, 16_384, 4);
    for (old, new) in [(tiny, other), (other, tiny), (other, other)] {
        for (video, needed) in [(0, 9216), (16_384, 25_600), (-1, 9212)] {
            let memory = memory(7, tiny, video);
            let recover = |guest_may_write| {
                recover(&memory, &intent(old, new), || Ok::<_, BadNode>(guest_may_write)).unwrap().0
            };
            assert_eq!(recover(false), Kib(needed), "{old}, {new}");
            // A target that the guest may write raises nothing.
            assert_eq!(recover(true), Kib(4), "{old}, {new}");
        }
    }
}

#[test]
fn dom0_gets_back_a_limit_without_slack() {
    let boot = numbers(8192, 16_384, 8192);
    let small = numbers(4096, 16_384, 5120);
    let shown = Numbers { limit: small.limit, ..boot };
    assert_eq!(
        recovered(&memory(0, shown, 0), boot, small),
        Recovery::RolledBack(step(shown, Kib(8192)))
    );
    assert_eq!(
        recovered(&memory(7, shown, 0), boot, small),
        Recovery::RolledBack(step(shown, Kib(9216)))
    );
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
    /// For any record.
    #[test]
    fn the_limit_is_one_that_was_set_or_what_the_target_needs(
        shown in any_numbers(), old in any_numbers(), new in any_numbers(), video in -1_i32..2048,
    ) {
        let memory = memory(7, shown, video);
        let (limit, _) = recover(&memory, &intent(old, new), || Ok::<_, BadNode>(false)).unwrap();
        let required = memory.required_limit();
        prop_assert!(limit >= required);
        prop_assert!([shown.limit, old.limit, new.limit, required].contains(&limit));
        let is_foreign = shown.limit != old.limit && shown.limit != new.limit;
        prop_assert!(!is_foreign || limit == shown.limit.max(required));
    }
}
