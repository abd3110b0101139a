//! Properties of every plan.

use proptest::prelude::*;

use super::*;

/// A guest that may write its nodes must not raise its limit beyond the request.
#[test]
fn a_limit_that_relies_on_xenstore_is_marked() {
    let odd = |video, target, static_max| {
        let mut memory = domain(7, GuestType::Pvh, 0, GIB / 2, GIB);
        memory.video = Ok(Some(video));
        (memory.target, memory.static_max) = (Ok(Some(Kib(target))), Ok(Some(Kib(static_max))));
        memory
    };
    let right = odd(0, GIB / 2, GIB);
    for (memory, request, relies) in [
        (right.clone(), set("1G"), false),
        (right.clone(), set("+256M"), false),
        (right.clone(), set("-256M"), false),
        (right.clone(), max("2G"), false),
        (right.clone(), MemoryRequest::Repair, false),
        (right.clone(), set("25%"), false),
        (right.clone(), set("max"), true),
        (right.clone(), set("75%"), true),
        (right.clone(), max("max"), true),
        // Also above static-max, which the limit does not follow after `set`.
        (right, max("+256M"), true),
        (hvm(GIB / 2), max("496M"), true),
        // An absolute size does not depend on xenstore.
        (odd(i32::MAX, 4, u64::MAX), set("1024G"), false),
        (odd(i32::MIN, u64::MAX, u64::MAX), set("1G"), false),
        (odd(0, 600_000, GIB), set("1G"), false),
        (odd(0, 600_000, GIB), set("+4M"), true),
        (odd(0, 600_000, GIB), set("-4M"), true),
        (odd(65_536, GIB / 2, GIB), set("+4M"), true),
        (odd(65_536, GIB / 2, GIB), max("512M"), true),
        (odd(0, 600_000, GIB), MemoryRequest::Repair, true),
    ] {
        match planned(&memory, request) {
            Ok(plan) => {
                assert_eq!(plan.relies_on_store, relies, "{memory:?}, {request:?}: {plan:?}");
            }
            Err(refusal) => {
                let beyond = matches!(refusal, Refusal::BelowVideo { .. } | Refusal::BeyondXen);
                assert!(beyond && !relies, "{memory:?}, {request:?}: {refusal}");
            }
        }
    }
}

prop_compose! {
    fn any_memory()(
        domid in 0_u32..3, hvm: bool, video in -1_i32..200_000,
        target in proptest::option::of(0_u64..1 << 36), extra in proptest::option::of(0_u64..1 << 36),
        current in 0_u64..1 << 32, limit in 0_u64..=u64::from(u32::MAX),
    ) -> Memory {
        let guest_type = if hvm { GuestType::Hvm } else { GuestType::Pv };
        let mut memory = domain(domid, guest_type, 0, 0, 0);
        memory.video = Ok(Some(video));
        memory.info.current = Kib::from_pages(current);
        memory.info.limit = Kib::from_pages(limit);
        memory.target = Ok(target.map(Kib));
        memory.static_max = Ok(extra.map(|extra| Kib(target.unwrap_or(0) + extra)));
        memory
    }
}

fn any_amount() -> impl Strategy<Value = Amount> {
    let pages = || (1_u64..1 << 40).prop_map(Kib::from_pages);
    prop_oneof![
        3 => pages().prop_map(Amount::To),
        1 => pages().prop_map(Amount::Target),
        3 => pages().prop_map(Amount::Up),
        3 => pages().prop_map(Amount::Down),
        1 => Just(Amount::Maximum),
        1 => (1_u8..=100).prop_map(Amount::Percent),
    ]
}

prop_compose! {
    fn any_request()(amount in any_amount(), raise_max: bool, force: bool, max: bool) -> MemoryRequest {
        let size = Size::exact(amount);
        if max { MemoryRequest::Max { size, force } } else { MemoryRequest::Set { size, raise_max, force } }
    }
}

proptest! {
    /// For any numbers and any request.
    #[test]
    fn every_plan_leaves_the_domain_in_step(memory in any_memory(), request in any_request()) {
        if let Ok(plan) = planned(&memory, request) {
            let after = after(&memory, &plan);
            prop_assert!(!after.is_above_maximum());
            prop_assert_eq!(after.missing_limit(), None);
            let (target, _, limit) = numbers(&plan);
            prop_assert!(target > 0 || memory.target == Ok(Some(Kib(0))) || memory.target == Ok(None));
            prop_assert!(Kib(limit).pages() < u64::from(u32::MAX));
            prop_assert_eq!(Kib(limit), Kib::from_pages(Kib(limit).pages()));
            prop_assert!(Kib(limit) >= after.required_limit());
            let is_floored = memory.is_dom0() && request.is_set() && !plan.changes_nothing();
            prop_assert!(!is_floored || plan.wanted >= DOM0_MINIMUM);
            if let Some(pod) = plan.pod {
                // XENMEM_set_pod_target above max_pages is EINVAL; a negative videoram may use up one KiB of the slack,
                // never a page.
                prop_assert!(pod <= plan.new.limit);
            }
        }
    }

    /// The same request, relative or absolute, then changes nothing.
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do(memory in any_memory(), request in any_request()) {
        if let Ok(first) = planned(&memory, request) {
            let after = after(&memory, &first);
            let absolute = request.absolute(&first).unwrap();
            let size = Size::exact(Amount::To(absolute));
            let again = match request {
                MemoryRequest::Max { .. } => MemoryRequest::Max { size, force: true },
                _ => MemoryRequest::Set { size, raise_max: true, force: true },
            };
            // Sizes are whole pages.
            prop_assume!(absolute == Kib::from_pages(absolute.pages()));
            prop_assert!(planned(&after, again).unwrap().changes_nothing(), "{:?}", planned(&after, again));
            if !request.is_relative() {
                prop_assert!(planned(&after, request).is_ok_and(|plan| plan.new.target == first.new.target));
            }
        }
    }

    /// A limit that does not rely on xenstore is not above the request.
    #[test]
    fn a_guests_numbers_raise_no_limit_unmarked(
        video: i32, target: u64, static_max: u64, limit in 0..u32::MAX, request in any_request(),
    ) {
        let mut memory = domain(7, GuestType::Pvh, 0, 0, 0);
        (memory.video, memory.info.limit) = (Ok(Some(video)), Kib::from_pages(limit.into()));
        (memory.target, memory.static_max) = (Ok(Some(Kib(target))), Ok(Some(Kib(static_max))));
        let limit = u128::from(memory.info.limit.0);
        let asked = match request.size().unwrap().amount {
            Amount::To(size) | Amount::Target(size) => u128::from(size.0) + 1024,
            Amount::Up(more) => limit + u128::from(more.0),
            Amount::Down(_) | Amount::Maximum | Amount::Percent(_) => limit,
        };
        if let Ok(plan) = planned(&memory, request) {
            prop_assert_eq!(plan.relies_on_store, u128::from(plan.new.limit.0) > asked, "{:?}", plan);
        }
        if let Ok(plan) = planned(&memory, MemoryRequest::Repair) {
            prop_assert_eq!(plan.relies_on_store, plan.new.limit != memory.info.limit);
        }
    }

    /// No limit is lowered, none raised beyond need, no existing node is replaced, and a second repair finds nothing.
    #[test]
    fn a_repair_only_raises_limits_and_fills_in_nodes(
        domid in 0_u32..2, video in -1_i32..3000, current in 0_u64..9000, limit in 0_u64..9000,
        target in proptest::option::of(0_u64..9000), static_max in proptest::option::of(0_u64..9000),
    ) {
        let mut memory = domain(domid, GuestType::Pvh, video, 8192, 8192);
        (memory.info.current, memory.info.limit) = (Kib(current), Kib::from_pages(limit / 4));
        (memory.target, memory.static_max) = (Ok(target.map(Kib)), Ok(static_max.map(Kib)));
        if let Ok(plan) = planned(&memory, MemoryRequest::Repair) {
            prop_assert!(target.is_none_or(|target| plan.new.target == Some(Kib(target))));
            prop_assert!(static_max.is_none_or(|max| plan.new.static_max == Some(Kib(max))));
            let repaired = after(&memory, &plan);
            let is_raised = plan.new.limit > memory.info.limit && plan.new.limit == repaired.required_limit();
            prop_assert!(plan.new.limit == memory.info.limit || is_raised);
            prop_assert!(planned(&repaired, MemoryRequest::Repair).unwrap().changes_nothing());
        }
    }
}
