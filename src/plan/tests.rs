//! libxl's numbers, xmem's rules, and what holds for every plan.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use proptest::prelude::*;

use super::*;
use crate::domain::{Identity, Uuid};

fn domain(domid: u32, hvm: bool, video: i32, target: u64, static_max: u64) -> Reading {
    let mut reading = Reading {
        info: DomainInfo {
            identity: Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid([7; 16]) },
            dying: false,
            paused: false,
            hvm,
            current: Kib(target),
            limit: Kib(0),
            outstanding: Kib(0),
        },
        target: Some(Kib(target)),
        static_max: Some(Kib(static_max)),
        video,
    };
    reading.info.limit = Kib::from_pages(reading.need(Kib(target)).unwrap().pages());
    reading
}

fn set(size: &str) -> Wish {
    Wish::Set { size: size.parse().unwrap(), raise_max: false, force: false }
}

fn max(size: &str) -> Wish {
    Wish::Max { size: size.parse().unwrap() }
}

/// libxl's own numbers for the same requests.
#[test]
fn worked_examples() {
    const GIB: u64 = 1_048_576;
    for (case, hvm, video, target, pod_pages, vm_memory) in [
        ("PV", false, 0, 524_288, None, 512),
        ("PVH", true, 0, 524_288, Some(131_328), 512),
        ("PVH of libxl 4.10 to 4.16.0, dom0less", true, -1, 524_289, Some(131_328), 512),
        ("HVM stdvga", true, 16_384, 507_904, Some(127_232), 496),
        ("HVM cirrus", true, 8192, 516_096, Some(129_280), 504),
    ] {
        let plan = plan(&domain(7, hvm, video, GIB, GIB), &set("512M")).unwrap();
        assert_eq!(plan.target, Kib(target), "{case}");
        assert_eq!(plan.limit.pages(), 131_328, "{case}");
        assert_eq!(plan.pod.map(Kib::pages), pod_pages, "{case}");
        assert_eq!((plan.vm_memory, plan.target.mib()), (true, vm_memory), "{case}");
        assert_eq!(plan.static_max, Kib(GIB), "{case}");
    }
    let dom0 = plan(&domain(0, true, 0, 2 * GIB, 8 * GIB), &set("4G")).unwrap();
    assert_eq!((dom0.target, dom0.limit.pages(), dom0.pod), (Kib(4_194_304), 1_048_832, None));
    let max = plan(&domain(7, true, 0, GIB / 2, GIB / 2), &max("1G")).unwrap();
    assert_eq!((max.target, max.static_max), (Kib(GIB / 2), Kib(GIB)));
    assert_eq!((max.limit.pages(), max.pod, max.vm_memory), (262_400, None, false));
}

#[test]
fn steps_leave_video_memory_alone() {
    let reading = domain(7, true, 16_384, 507_904, 1_048_576);
    let up = plan(&reading, &set("+64M")).unwrap();
    assert_eq!((up.target, up.limit), (Kib(573_440), Kib(573_440 + 16_384 + 1024)));
    let down = plan(&reading, &set("-64M")).unwrap();
    assert_eq!(down.target, Kib(442_368));
    assert_eq!(down.notes, []);
    let mut paused = reading;
    paused.info.paused = true;
    assert_eq!(
        plan(&paused, &set("-64M")).unwrap().notes,
        [Note::Paused { current: Kib(507_904) }]
    );
    let odd = plan(&domain(7, true, -1, 524_289, 1_048_576), &set("+64M")).unwrap();
    assert_eq!((odd.target, odd.limit), (Kib(589_825), Kib(589_824 + 1024)));
}

#[test]
fn refusals() {
    let pv = domain(7, false, 0, 524_288, 1_048_576);
    let hvm = domain(7, true, 16_384, 507_904, 524_288);
    let dom0 = domain(0, false, 0, 524_288, 1_048_576);
    let kib = |mib: u64| Kib(mib * 1024);
    for (reading, wish, refusal) in [
        (
            pv,
            set("2G"),
            Refusal::AboveMax { target: kib(2048), static_max: kib(1024), most: kib(1024) },
        ),
        (
            pv,
            set("+513M"),
            Refusal::AboveMax { target: kib(1025), static_max: kib(1024), most: kib(1024) },
        ),
        (
            hvm,
            set("529M"),
            Refusal::AboveMax { target: kib(513), static_max: kib(512), most: kib(528) },
        ),
        (hvm, set("16M"), Refusal::BelowVideo { size: kib(16), video: kib(16) }),
        (pv, set("31M"), Refusal::Floor { target: kib(31) }),
        (pv, set("-500M"), Refusal::Floor { target: kib(12) }),
        (pv, set("-512M"), Refusal::BelowZero { less: kib(512), from: kib(512) }),
        (pv, set("-2T"), Refusal::BelowZero { less: kib(2 << 20), from: kib(512) }),
        (dom0, set("127M"), Refusal::Dom0Floor { target: kib(127) }),
        (pv, max("511M"), Refusal::BelowTarget { max: kib(511), target: kib(512) }),
        (pv, max("16T"), Refusal::BeyondXen),
        (pv, max("16383T"), Refusal::BeyondXen),
        (Reading { target: None, ..pv }, set("1G"), Refusal::NoKey { key: "memory/target" }),
        (
            Reading { static_max: None, ..pv },
            max("1G"),
            Refusal::NoKey { key: "memory/static-max" },
        ),
    ] {
        assert_eq!(plan(&reading, &wish).unwrap_err(), refusal, "{wish:?}");
    }
}

#[test]
fn floors_can_be_forced_for_a_domu_and_never_for_dom0() {
    let force =
        |size: &str| Wish::Set { size: size.parse().unwrap(), raise_max: false, force: true };
    assert_eq!(plan(&domain(7, false, 0, 65_536, 65_536), &force("4M")).unwrap().target, Kib(4096));
    assert!(plan(&domain(0, false, 0, 524_288, 524_288), &force("127M")).is_err());
    // Growing is never held back by the floor.
    assert!(plan(&domain(7, false, 0, 8192, 65_536), &set("16M")).is_ok());
}

#[test]
fn raise_max_raises_both_and_lowers_nothing() {
    let raise =
        |size: &str| Wish::Set { size: size.parse().unwrap(), raise_max: true, force: false };
    let pv = domain(7, false, 0, 524_288, 1_048_576);
    let up = plan(&pv, &raise("2G")).unwrap();
    assert_eq!((up.target, up.static_max), (Kib(2_097_152), Kib(2_097_152)));
    assert_eq!(plan(&pv, &raise("256M")).unwrap().static_max, Kib(1_048_576));
}

#[test]
fn a_maximum_never_starves_video_memory() {
    let hvm = domain(7, true, 16_384, 507_904, 524_288);
    let plan = plan(&hvm, &max("496M")).unwrap();
    assert_eq!((plan.static_max, plan.limit), (Kib(507_904), Kib(507_904 + 16_384 + 1024)));
    assert!(plan.notes.iter().any(|note| matches!(note, Note::LimitAboveMax { .. })));
}

#[test]
fn dom0_is_filled_in_as_libxl_does() {
    let mut dom0 = domain(0, false, 0, 786_432, 0);
    dom0.info.limit = UNLIMITED;
    (dom0.target, dom0.static_max) = (None, None);
    let both = plan(&dom0, &set("-256M")).unwrap();
    assert_eq!((both.target, both.static_max), (Kib(524_288), Kib(17_179_869_180)));
    assert_eq!(both.limit, Kib(525_312));
    assert!(both.notes.contains(&Note::FilledIn { target: true, static_max: true }));
    assert!(both.notes.contains(&Note::Capped { limit: Kib(525_312) }));
    dom0.target = Some(Kib(786_432));
    let one = plan(&dom0, &max("1G")).unwrap();
    assert_eq!((one.target, one.static_max), (Kib(786_432), Kib(1_048_576)));
    assert!(one.notes.contains(&Note::FilledIn { target: false, static_max: true }));
}

#[test]
fn the_same_again_changes_nothing() {
    for (reading, wish) in [
        (domain(7, false, 0, 524_288, 1_048_576), set("512M")),
        (domain(7, true, -1, 524_289, 1_048_576), set("512M")),
        (domain(7, true, 16_384, 507_904, 1_048_576), set("512M")),
    ] {
        assert!(plan(&reading, &wish).unwrap().changes_nothing(), "{reading:?}");
    }
    // In xenstore alone it is not the same: the limit counts.
    let mut off = domain(7, false, 0, 524_288, 1_048_576);
    off.info.limit = Kib(4);
    assert!(!plan(&off, &set("512M")).unwrap().changes_nothing());
}

/// What a limit rises by beyond the request is told apart: there the guest's own word may not count.
#[test]
fn what_is_taken_on_trust() {
    let off = |video, target, static_max| {
        let mut reading = domain(7, true, 0, 524_288, 1_048_576);
        (reading.video, reading.target, reading.static_max) =
            (video, Some(Kib(target)), Some(Kib(static_max)));
        reading
    };
    let right = off(0, 524_288, 1_048_576);
    for (reading, wish, on_trust) in [
        (right, set("1G"), false),
        (right, set("+256M"), false),
        (right, set("-256M"), false),
        (right, max("2G"), false),
        (right, Wish::Mend, false),
        // Up to static-max and more, which the limit does not follow after `set`.
        (right, max("+256M"), true),
        (domain(7, true, 16_384, 507_904, 524_288), max("496M"), true),
        // Whatever stands there, a whole size is what was asked for.
        (off(i32::MAX, 4, u64::MAX), set("1024G"), false),
        (off(i32::MIN, u64::MAX, u64::MAX), set("1G"), false),
        (off(0, 600_000, 1_048_576), set("1G"), false),
        (off(0, 600_000, 1_048_576), set("+4M"), true),
        (off(0, 600_000, 1_048_576), set("-4M"), true),
        (off(65_536, 524_288, 1_048_576), set("+4M"), true),
        (off(65_536, 524_288, 1_048_576), max("512M"), true),
        (off(0, 600_000, 1_048_576), Wish::Mend, true),
    ] {
        match plan(&reading, &wish) {
            Ok(plan) => assert_eq!(plan.on_trust, on_trust, "{reading:?}, {wish:?}: {plan:?}"),
            Err(refusal) => {
                let beyond = matches!(refusal, Refusal::BelowVideo { .. } | Refusal::BeyondXen);
                assert!(beyond && !on_trust, "{reading:?}, {wish:?}: {refusal}");
            }
        }
    }
}

prop_compose! {
    fn any_reading()(
        domid in 0_u32..3, hvm: bool, video in -1_i32..200_000,
        target in proptest::option::of(0_u64..1 << 36), extra in proptest::option::of(0_u64..1 << 36),
        current in 0_u64..1 << 32, limit in 0_u64..=u64::from(u32::MAX),
    ) -> Reading {
        let mut reading = domain(domid, hvm, 0, 0, 0);
        reading.video = video;
        reading.info.current = Kib::from_pages(current);
        reading.info.limit = Kib::from_pages(limit);
        reading.target = target.map(Kib);
        reading.static_max = extra.map(|extra| Kib(target.unwrap_or(0) + extra));
        reading
    }
}

prop_compose! {
    fn any_wish()(
        sign in 0_usize..3, pages in 1_u64..1 << 40, raise_max: bool, force: bool, max: bool,
    ) -> Wish {
        let wraps: [fn(Kib) -> Amount; 3] = [Amount::To, Amount::Up, Amount::Down];
        let amount = wraps[sign](Kib::from_pages(pages));
        let size = Size { amount, cut: 0 };
        if max { Wish::Max { size } } else { Wish::Set { size, raise_max, force } }
    }
}

proptest! {
    /// Whatever is read and asked, a plan leaves the domain in step.
    #[test]
    fn every_plan_is_in_step(reading in any_reading(), wish in any_wish()) {
        if let Ok(plan) = plan(&reading, &wish) {
            prop_assert!(plan.target <= plan.static_max);
            prop_assert!(plan.target.0 > 0 || reading.target == Some(Kib(0)));
            prop_assert!(plan.limit.pages() < u64::from(u32::MAX));
            prop_assert_eq!(plan.limit, Kib::from_pages(plan.limit.pages()));
            let need = reading.need(plan.target).unwrap();
            prop_assert!(plan.limit.pages() >= need.pages());
            let floored = reading.is_dom0() && matches!(wish, Wish::Set { .. });
            prop_assert!(!floored || plan.target >= DOM0_FLOOR);
            if let Some(pod) = plan.pod {
                // XENMEM_set_pod_target above max_pages is EINVAL; a negative videoram may eat
                // one KiB of the slack, never a page.
                prop_assert!(pod <= plan.limit);
            }
        }
    }

    /// Asking again for what was reached asks for nothing.
    #[test]
    fn plans_are_idempotent(reading in any_reading(), pages in 1_u64..1 << 30) {
        let wish = Wish::Set {
            size: Size { amount: Amount::To(Kib::from_pages(pages)), cut: 0 },
            raise_max: true,
            force: true,
        };
        if let Ok(first) = plan(&reading, &wish) {
            let mut after = reading;
            after.target = Some(first.target);
            after.static_max = Some(first.static_max);
            after.info.limit = first.limit;
            prop_assert!(plan(&after, &wish).unwrap().changes_nothing());
        }
    }
}

proptest! {
    /// Whatever a guest writes: a limit that is not told to be xenstore's word is not above what was asked for.
    #[test]
    fn a_guests_numbers_raise_nothing_unseen(
        video: i32, target: u64, static_max: u64, limit in 0..u32::MAX, wish in any_wish(),
    ) {
        let mut reading = domain(7, true, 0, 0, 0);
        (reading.video, reading.info.limit) = (video, Kib::from_pages(limit.into()));
        (reading.target, reading.static_max) = (Some(Kib(target)), Some(Kib(static_max)));
        let (Wish::Set { size, .. } | Wish::Max { size }) = wish else { unreachable!() };
        let asked = match size.amount {
            Amount::To(size) => u128::from(size.0) + 1024,
            Amount::Up(more) => u128::from(reading.info.limit.0) + u128::from(more.0),
            Amount::Down(_) => u128::from(reading.info.limit.0),
        };
        if let Ok(plan) = plan(&reading, &wish) {
            prop_assert_eq!(plan.on_trust, u128::from(plan.limit.0) > asked, "{:?}", plan);
        }
        if let Ok(plan) = plan(&reading, &Wish::Mend) {
            prop_assert_eq!(plan.on_trust, plan.limit != reading.info.limit);
        }
    }
}

/// Raises a limit to what the target needs, fills in what dom0 lacks, and touches nothing else.
#[test]
fn what_is_mended() {
    let numbers = |reading: &Reading| {
        let plan = plan(reading, &Wish::Mend).unwrap();
        assert_eq!((plan.pod, plan.vm_memory), (None, false));
        (plan.target.0, plan.static_max.0, plan.limit.0)
    };
    let mut low = domain(7, true, 16_384, 524_288, 1_048_576);
    assert!(plan(&low, &Wish::Mend).unwrap().changes_nothing());
    low.info.limit = Kib(525_312);
    assert_eq!(numbers(&low), (524_288, 1_048_576, 541_696));
    low.static_max = Some(Kib(524_284));
    assert!(plan(&low, &Wish::Mend).unwrap().changes_nothing());
    low.static_max = None;
    assert_eq!(plan(&low, &Wish::Mend), Err(Refusal::NoKey { key: "memory/static-max" }));

    let mut dom0 = domain(0, false, 0, 2_097_152, 4_194_304);
    dom0.info.limit = UNLIMITED;
    (dom0.target, dom0.static_max) = (None, None);
    assert_eq!(numbers(&dom0), (2_097_152, UNLIMITED.0, UNLIMITED.0));
    dom0.static_max = Some(Kib(4_194_304));
    assert_eq!(numbers(&dom0), (2_097_152, 4_194_304, UNLIMITED.0));
    // A maximum below the target is no mending.
    (dom0.target, dom0.static_max, dom0.info.limit) = (Some(Kib(8)), None, Kib(4));
    assert!(matches!(plan(&dom0, &Wish::Mend), Err(Refusal::AboveMax { .. })));
}

proptest! {
    /// Whatever the numbers are: no limit is lowered, none raised beyond need, nothing that is there is
    /// replaced, and what is mended is mended for good.
    #[test]
    fn mending_takes_nothing_away(
        domid in 0_u32..2, video in -1_i32..3000, current in 0_u64..9000, limit in 0_u64..9000,
        target in proptest::option::of(0_u64..9000), static_max in proptest::option::of(0_u64..9000),
    ) {
        let mut reading = domain(domid, true, video, 8192, 8192);
        (reading.info.current, reading.info.limit) = (Kib(current), Kib::from_pages(limit / 4));
        (reading.target, reading.static_max) = (target.map(Kib), static_max.map(Kib));
        if let Ok(plan) = plan(&reading, &Wish::Mend) {
            prop_assert!(target.is_none_or(|target| plan.target == Kib(target)));
            prop_assert!(static_max.is_none_or(|most| plan.static_max == Kib(most)));
            (reading.target, reading.static_max) = (Some(plan.target), Some(plan.static_max));
            let raised = plan.limit > reading.info.limit && plan.limit == reading.least_limit();
            prop_assert!(plan.limit == reading.info.limit || raised);
            reading.info.limit = plan.limit;
            prop_assert!(super::plan(&reading, &Wish::Mend).unwrap().changes_nothing());
        }
    }
}
