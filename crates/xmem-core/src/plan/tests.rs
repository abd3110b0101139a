//! libxl's numbers, xmem's rules, and what holds for every plan.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

mod any;
mod around;

use xen::DomId;
use xen::hypervisor::{DomainInfo, UNLIMITED};

use super::*;
use crate::memory::GuestType;
use crate::size::{Amount, Size};

const MIB: u64 = 1024;
const GIB: u64 = 1024 * MIB;

/// A running domain in step, at its target.
fn domain(domid: u32, guest_type: GuestType, video: i32, target: u64, static_max: u64) -> Memory {
    let info = DomainInfo {
        guest_type,
        current: size_of(Kib(target), video),
        ..crate::testing::info(domid)
    };
    let mut memory = Memory {
        target: Ok(Some(Kib(target))),
        static_max: Ok(Some(Kib(static_max))),
        video: Ok(Some(video)),
        ..Memory::of(info)
    };
    memory.info.limit = memory.required_limit();
    memory
}

fn pv() -> Memory {
    domain(7, GuestType::Pv, 0, GIB / 2, GIB)
}

/// 512 MiB, including 16 MiB of video memory.
fn hvm(static_max: u64) -> Memory {
    domain(7, GuestType::Hvm, 16_384, 507_904, static_max)
}

/// As built by libxl 4.10 to 4.16.0 and by dom0less.
fn minus_one(static_max: u64) -> Memory {
    domain(7, GuestType::Pvh, -1, 524_289, static_max)
}

fn set(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: false, force: false }
}

fn raise(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: true, force: false }
}

fn force(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: false, force: true }
}

fn max(size: &str) -> MemoryRequest {
    MemoryRequest::Max { size: size.parse().unwrap(), force: false }
}

fn planned(memory: &Memory, request: MemoryRequest) -> Result<Plan, Refusal> {
    plan(memory, &request, &Surroundings::default())
}

/// Target, maximum and limit of a plan, in KiB.
fn numbers(plan: &Plan) -> (u64, u64, u64) {
    (plan.new.target.unwrap().0, plan.new.static_max.unwrap().0, plan.new.limit.0)
}

/// The domain once `plan` is carried out and its guest has reached the target.
fn after(memory: &Memory, plan: &Plan) -> Memory {
    let mut memory = Memory {
        target: Ok(plan.new.target),
        static_max: Ok(plan.new.static_max),
        ..memory.clone()
    };
    memory.info.limit = plan.new.limit;
    memory.info.current = plan.wanted;
    memory
}

#[test]
fn a_plan_has_the_numbers_of_libxl() {
    use GuestType::{Hvm, Pv, Pvh};
    for (case, guest_type, video, target, pod_pages, vm_memory) in [
        ("PV", Pv, 0, 524_288, None, 512),
        ("PVH", Pvh, 0, 524_288, Some(131_328), 512),
        ("PVH of libxl 4.10 to 4.16.0, dom0less", Pvh, -1, 524_289, Some(131_328), 512),
        ("HVM stdvga", Hvm, 16_384, 507_904, Some(127_232), 496),
        ("HVM cirrus", Hvm, 8192, 516_096, Some(129_280), 504),
    ] {
        let plan = planned(&domain(7, guest_type, video, GIB, GIB), set("512M")).unwrap();
        assert_eq!(numbers(&plan), (target, GIB, 525_312), "{case}");
        let pod_pages = pod_pages.filter(|_| cfg!(target_arch = "x86_64"));
        assert_eq!(plan.pod.map(Kib::pages), pod_pages, "{case}");
        let target = plan.new.target.unwrap();
        assert_eq!((plan.sets_target, target.mib()), (true, vm_memory), "{case}");
        assert_eq!(plan.size(), Kib(524_288), "{case}");
    }
    let dom0 = planned(&domain(0, Pvh, 0, 2 * GIB, 8 * GIB), set("4G")).unwrap();
    assert_eq!((numbers(&dom0), dom0.pod), ((4_194_304, 8 * GIB, 4_195_328), None));
    let max = planned(&domain(7, Pvh, 0, GIB / 2, GIB / 2), max("1G")).unwrap();
    assert_eq!(numbers(&max), (GIB / 2, GIB, 1_049_600));
    assert_eq!((max.pod, max.sets_target), (None, false));
}

#[test]
fn a_relative_size_leaves_video_memory_as_it_is() {
    let up = planned(&hvm(GIB), set("+64M")).unwrap();
    assert_eq!(numbers(&up), (573_440, GIB, 573_440 + 16_384 + 1024));
    let down = planned(&hvm(GIB), set("-64M")).unwrap();
    assert_eq!((numbers(&down).0, down.notes), (442_368, Vec::new()));
    let odd = planned(&minus_one(GIB), set("+64M")).unwrap();
    assert_eq!(numbers(&odd), (589_825, GIB, 589_824 + 1024));
}

#[test]
fn max_and_percentages_are_of_the_maximum() {
    for (memory, request, size) in [
        (pv(), set("max"), GIB),
        (pv(), set("50%"), GIB / 2),
        (pv(), set("75%"), GIB / 4 * 3),
        (domain(7, GuestType::Pv, 0, GIB / 2, 1_000_000), set("33%"), 330_000),
        (domain(7, GuestType::Pv, 0, GIB / 2, 1_000_012), set("33%"), 330_000),
        (hvm(GIB), set("max"), GIB),
        (minus_one(GIB), set("max"), GIB),
    ] {
        let plan = planned(&memory, request).unwrap();
        assert_eq!(plan.size(), Kib(size), "{memory:?}, {request:?}");
        assert_eq!(plan.new.limit, Kib(size + MIB));
    }
    // `set` accepts static-max, including its video memory.
    assert_eq!(numbers(&planned(&hvm(GIB), set("max")).unwrap()).0, GIB - 16_384);
    assert_eq!(numbers(&planned(&pv(), max("max")).unwrap()), (GIB / 2, GIB, GIB + MIB));
    assert_eq!(numbers(&planned(&pv(), max("50%")).unwrap()), (GIB / 2, GIB / 2, GIB / 2 + MIB));
}

#[test]
fn a_relative_size_of_zero_changes_nothing() {
    let mut odd = pv();
    odd.info.limit = Kib(GIB + MIB);
    for size in ["+0", "-0"] {
        for request in [set(size), max(size), raise(size)] {
            assert!(planned(&odd, request).unwrap().changes_nothing());
        }
    }
    let rounded = planned(&odd, set("+1k")).unwrap();
    assert!(rounded.changes_nothing());
    assert_eq!(rounded.notes, [Note::Rounded { bytes: 1024 }]);
}

#[test]
fn every_refusal_has_its_reason() {
    let dom0 = domain(0, GuestType::Pv, 0, GIB / 2, GIB);
    let without = |target, static_max| Memory { target, static_max, ..pv() };
    let kib = |mib: u64| Kib(mib * MIB);
    let above = |target, max, most| Refusal::AboveMax {
        target: kib(target),
        static_max: kib(max),
        most: kib(most),
    };
    for (memory, request, refusal) in [
        (pv(), set("2G"), above(2048, 1024, 1024)),
        (pv(), set("+513M"), above(1025, 1024, 1024)),
        (hvm(GIB / 2), set("529M"), above(513, 512, 528)),
        (hvm(GIB / 2), set("16M"), Refusal::BelowVideo { size: kib(16), video: kib(16) }),
        (pv(), set("31M"), Refusal::GuestMinimum { size: kib(31), video: kib(0) }),
        (pv(), set("-500M"), Refusal::GuestMinimum { size: kib(12), video: kib(0) }),
        (pv(), set("-512M"), Refusal::BelowZero { less: kib(512), from: kib(512) }),
        (pv(), set("-2T"), Refusal::BelowZero { less: kib(2 << 20), from: kib(512) }),
        (dom0.clone(), set("127M"), Refusal::Dom0Minimum { size: kib(127) }),
        (dom0, force("127M"), Refusal::Dom0Minimum { size: kib(127) }),
        (pv(), max("511M"), Refusal::BelowTarget { max: kib(511), target: kib(512) }),
        (pv(), max("16T"), Refusal::BeyondXen),
        (pv(), max("16383T"), Refusal::BeyondXen),
        (without(Ok(None), Ok(Some(kib(9)))), set("1G"), Refusal::NoKey { key: "memory/target" }),
        (
            without(Ok(Some(kib(9))), Ok(None)),
            max("1G"),
            Refusal::NoKey { key: "memory/static-max" },
        ),
    ] {
        assert_eq!(planned(&memory, request).unwrap_err(), refusal, "{request:?}");
    }
}

#[test]
fn a_bad_node_is_refused_and_never_filled_in() {
    let bad = crate::memory::BadNode { path: "/p".to_owned(), value: "x".to_owned() };
    for memory in [
        Memory { target: Err(bad.clone()), ..domain(0, GuestType::Pv, 0, GIB, GIB) },
        Memory { static_max: Err(bad.clone()), ..pv() },
    ] {
        for request in [set("512M"), max("2G"), MemoryRequest::Repair] {
            if memory.video.is_ok() || request != MemoryRequest::Repair {
                assert_eq!(planned(&memory, request), Err(Refusal::BadNode(bad.clone())));
            }
        }
    }
    let mut video = Memory { video: Err(bad.clone()), ..pv() };
    for request in [set("512M"), max("2G")] {
        assert_eq!(planned(&video, request), Err(Refusal::BadNode(bad.clone())));
    }
    // Without video memory, the target's need is a lower bound.
    video.info.limit = Kib(4);
    let repaired = planned(&video, MemoryRequest::Repair).unwrap();
    assert_eq!(repaired.new.limit, Kib(GIB / 2 + MIB));
}

/// Video memory can only add to what the target needs.
#[test]
fn a_limit_below_the_target_is_repaired_whatever_the_video_memory() {
    let bad = crate::memory::BadNode { path: "/p".to_owned(), value: "x".to_owned() };
    let mut memory = Memory { video: Err(bad), ..pv() };
    assert!(planned(&memory, MemoryRequest::Repair).unwrap().changes_nothing());
    memory.info.limit = Kib(4);
    let plan = planned(&memory, MemoryRequest::Repair).unwrap();
    assert_eq!(plan.new.limit, memory.target.unwrap().unwrap().plus(SLACK).unwrap());
}

/// Its video memory does not count.
#[test]
fn the_guest_minimum_applies_to_what_a_shrinking_guest_can_use() {
    let small = |target| domain(7, GuestType::Pv, 0, target, 65_536);
    assert_eq!(numbers(&planned(&small(65_536), force("4M")).unwrap()).0, 4096);
    assert!(planned(&small(8192), set("16M")).is_ok());
    assert!(planned(&small(65_536), set("32M")).is_ok());
    assert!(planned(&hvm(GIB), set("48M")).is_ok());
    let (size, video) = (Kib(47 * MIB), Kib(16 * MIB));
    let refusal = Refusal::GuestMinimum { size, video };
    let words = "47 MiB is below the 48 MiB minimum for a guest with 16 MiB of video memory";
    assert_eq!(refusal.to_string(), words);
    assert_eq!(planned(&hvm(GIB), set("47M")), Err(refusal));
}

#[test]
fn raise_max_gives_the_numbers_of_max_and_set() {
    for memory in [pv(), hvm(GIB), hvm(GIB / 2), minus_one(GIB), minus_one(GIB / 2)] {
        for size in ["2G", "1028M", "520M"] {
            let at_once = after(&memory, &planned(&memory, raise(size)).unwrap());
            let first = match planned(&memory, max(size)) {
                Ok(plan) if plan.new.static_max > plan.old.static_max => after(&memory, &plan),
                _ => memory.clone(),
            };
            let in_turn = after(&first, &planned(&first, set(size)).unwrap());
            assert_eq!(at_once, in_turn, "{memory:?}, {size}");
        }
    }
    assert_eq!(numbers(&planned(&pv(), raise("256M")).unwrap()).1, GIB, "lowers nothing");
    let steps = planned(&hvm(GIB / 2), raise("+64M")).unwrap();
    assert_eq!(numbers(&steps).1, (512 + 64) * MIB);
}

#[test]
fn video_memory_of_minus_one_is_in_step() {
    let healthy = minus_one(GIB / 2);
    assert!(planned(&healthy, set("512M")).unwrap().changes_nothing());
    assert!(planned(&healthy, set("max")).unwrap().changes_nothing());
    assert!(planned(&healthy, max("512M")).unwrap().changes_nothing());
    assert!(planned(&healthy, MemoryRequest::Repair).unwrap().changes_nothing());
    let larger = planned(&healthy, set("513M")).unwrap_err();
    assert!(matches!(larger, Refusal::AboveMax { most: Kib(524_288), .. }), "{larger:?}");
    let lower = planned(&healthy, max("511M")).unwrap_err();
    assert!(matches!(lower, Refusal::BelowTarget { .. }), "{lower:?}");
}

#[test]
fn a_maximum_leaves_room_for_video_memory() {
    let plan = planned(&hvm(GIB / 2), max("496M")).unwrap();
    assert_eq!(numbers(&plan), (507_904, 507_904, 507_904 + 16_384 + 1024));
    assert!(plan.notes.iter().any(|note| matches!(note, Note::LimitAboveMax { .. })));
}

#[test]
fn dom0s_missing_nodes_are_filled_in_as_libxl_does() {
    let mut dom0 = domain(0, GuestType::Pv, 0, 786_432, 0);
    dom0.info.limit = UNLIMITED;
    (dom0.target, dom0.static_max) = (Ok(None), Ok(None));
    let both = planned(&dom0, set("-256M")).unwrap();
    assert_eq!(numbers(&both), (524_288, 17_179_869_180, 525_312));
    assert!(both.notes.contains(&Note::FilledIn { target: true, static_max: true }));
    assert!(both.notes.contains(&Note::FirstLimit { limit: Kib(525_312) }));
    dom0.target = Ok(Some(Kib(786_432)));
    let one = planned(&dom0, max("1G")).unwrap();
    assert_eq!(numbers(&one), (786_432, GIB, GIB + MIB));
    assert!(one.notes.contains(&Note::FilledIn { target: false, static_max: true }));
}

#[test]
fn a_size_already_set_changes_nothing() {
    for memory in [pv(), minus_one(GIB), hvm(GIB), hvm(GIB / 2)] {
        assert!(planned(&memory, set("512M")).unwrap().changes_nothing(), "{memory:?}");
    }
    // The same target with another limit is a change.
    let mut odd = pv();
    odd.info.limit = Kib(4);
    assert!(!planned(&odd, set("512M")).unwrap().changes_nothing());
}

#[test]
fn a_conditional_set_changes_nothing_unless_its_condition_holds() {
    let set_if = |condition, size: &str| MemoryRequest::SetIf {
        condition,
        size: size.parse().unwrap(),
        limit: LimitRule::Follows,
        force: false,
    };
    let here = Condition::TargetIs(Kib(GIB / 2));
    let elsewhere = Condition::TargetIs(Kib(GIB / 2 + 4));
    for (request, changes) in [
        (set_if(Condition::Lowers, "256M"), true),
        (set_if(Condition::Lowers, "512M"), false),
        (set_if(Condition::Lowers, "768M"), false),
        (set_if(Condition::Lowers, "+64M"), false),
        (set_if(here, "256M"), true),
        (set_if(here, "768M"), true),
        (set_if(elsewhere, "256M"), false),
        (set_if(elsewhere, "15T"), false),
    ] {
        assert_eq!(!planned(&pv(), request).unwrap().changes_nothing(), changes, "{request:?}");
    }
    assert!(planned(&pv(), set_if(here, "15T")).is_err());
    let mut odd = pv();
    odd.info.limit = Kib(GIB + MIB);
    assert!(planned(&odd, set_if(Condition::Lowers, "512M")).unwrap().changes_nothing());
}

/// It touches nothing else.
#[test]
fn a_repair_raises_a_limit_and_fills_in_nodes() {
    let repaired = |memory: &Memory| {
        let plan = planned(memory, MemoryRequest::Repair).unwrap();
        assert_eq!((plan.pod, plan.sets_target), (None, false));
        numbers(&plan)
    };
    let repair = MemoryRequest::Repair;
    let mut low = domain(7, GuestType::Hvm, 16_384, GIB / 2, GIB);
    assert!(planned(&low, repair).unwrap().changes_nothing());
    low.info.limit = Kib(525_312);
    assert_eq!(repaired(&low), (GIB / 2, GIB, 541_696));
    // Either of the two may be wrong.
    low.static_max = Ok(Some(Kib(524_284)));
    assert!(planned(&low, repair).unwrap().changes_nothing());
    low.static_max = Ok(None);
    assert_eq!(planned(&low, repair), Err(Refusal::NoKey { key: "memory/static-max" }));

    let mut dom0 = domain(0, GuestType::Pv, 0, 2 * GIB, 4 * GIB);
    dom0.info.limit = UNLIMITED;
    (dom0.target, dom0.static_max) = (Ok(None), Ok(None));
    assert_eq!(repaired(&dom0), (2 * GIB, UNLIMITED.0, UNLIMITED.0));
    dom0.static_max = Ok(Some(Kib(4 * GIB)));
    assert_eq!(repaired(&dom0), (2 * GIB, 4 * GIB, UNLIMITED.0));
    // A maximum below the target is not repaired.
    (dom0.target, dom0.static_max, dom0.info.limit) = (Ok(Some(Kib(8))), Ok(None), Kib(4));
    assert!(matches!(planned(&dom0, repair), Err(Refusal::AboveMax { .. })));
}

#[test]
fn an_abandoned_plan_changes_nothing() {
    let mut plan = planned(&hvm(GIB), set("1G")).unwrap();
    plan.leave_alone();
    assert!(plan.changes_nothing() && plan.notes.is_empty());
    assert_eq!((plan.size(), plan.pod), (Kib(GIB / 2), None));
}

#[test]
fn a_share_or_a_step_of_a_maximum_that_dom0_does_not_have_is_refused() {
    let mut dom0 = Memory::of(crate::testing::info(0));
    dom0.info.limit = UNLIMITED;
    for request in [set("50%"), set("max"), max("50%"), max("max"), max("-1G"), max("+1G")] {
        assert_eq!(planned(&dom0, request), Err(Refusal::NoMaximum), "{request:?}");
    }
    dom0.static_max = Ok(Some(UNLIMITED));
    assert_eq!(planned(&dom0, max("50%")), Err(Refusal::NoMaximum));
}

#[test]
fn a_first_maximum_above_the_hosts_memory_is_refused() {
    let mut dom0 = domain(0, GuestType::Pv, 0, GIB, UNLIMITED.0);
    dom0.info.limit = UNLIMITED;
    let draft = draft(&dom0, &max("20G")).unwrap();
    assert!(Questions::of(&dom0, &max("20G"), &draft).host);
    let host = HostMemory { total: Kib(16 * GIB), free: Kib(0), scrub: Kib(0), claimed: Kib(0) };
    let around = Surroundings { host: Some(host), ..Surroundings::default() };
    let refused = plan(&dom0, &max("20G"), &around);
    assert!(matches!(refused, Err(Refusal::AboveHost { .. })), "{refused:?}");
    assert!(plan(&dom0, &max("8G"), &around).is_ok());
}

#[test]
fn every_rule_that_force_overrides_is_named_at_once() {
    let stub = Memory { device_model_of: DomId::new(9), ..pv() };
    let Err(refusal @ Refusal::Several(_)) = planned(&stub, set("16M")) else { panic!() };
    let text = refusal.to_string();
    assert!(text.contains("32 MiB minimum") && text.contains("device model of domain 9"), "{text}");
    assert!(refusal.can_be_forced());
    let notes = planned(&stub, force("16M")).unwrap().notes;
    assert!(notes.iter().any(|note| matches!(note, Note::DeviceModel { .. })), "{notes:?}");
}

#[test]
fn a_rule_that_force_cannot_override_comes_first() {
    let host = HostMemory { total: Kib(GIB), free: Kib(0), scrub: Kib(0), claimed: Kib(0) };
    let around =
        Surroundings { host: Some(host), keep_free: Some(Kib(MIB)), ..Surroundings::default() };
    let above = domain(7, GuestType::Pv, 0, GIB / 2, 8 * GIB);
    let refused = plan(&above, &set("4G"), &around);
    assert!(matches!(refused, Err(Refusal::KeepFree { .. })), "{refused:?}");
}

#[test]
fn a_needless_change_notes_that_the_limit_is_out_of_step() {
    let mut low = pv();
    low.info.limit = Kib(MIB);
    let notes = planned(&low, set("+0")).unwrap().notes;
    assert!(matches!(notes.as_slice(), [Note::LimitTooLow { .. }]), "{notes:?}");
    assert_eq!(planned(&pv(), set("+0")).unwrap().notes, []);
}

#[test]
fn a_step_up_from_a_senseless_target_shrinks_the_guest_by_force_only() {
    let mut memory = domain(7, GuestType::Pv, 0, 4, GIB);
    memory.info.current = Kib(GIB);
    let refused = planned(&memory, set("+1M"));
    assert!(matches!(refused, Err(Refusal::GuestMinimum { .. })), "{refused:?}");
    assert!(planned(&memory, force("+1M")).is_ok());
}

#[test]
fn the_pod_target_never_exceeds_the_limit() {
    // With a video memory of -1 and a target in whole pages.
    let guest = domain(7, GuestType::Pvh, -1, GIB / 2, GIB);
    for request in [set("+100M"), set("-100M"), set("600M")] {
        let plan = planned(&guest, request).unwrap();
        assert!(plan.pod.is_none_or(|pod| pod <= plan.new.limit), "{plan:?}");
    }
}
