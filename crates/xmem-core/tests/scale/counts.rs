//! Each cost as a count per domain plus a constant.

use std::collections::BTreeMap;
use std::time::Duration;

use xen::{Host as _, Kib, NoInterrupt};
use xmem_core::check::{check, repair};
use xmem_core::survey::{Detail, Monitor, survey};

use crate::host::{Cost, ManyHost, SIZE};

const COUNTS: [u16; 3] = [10, 100, 1000];

/// The most requests in flight together.
const WINDOW: usize = 64;

/// Name, target, static-max and videoram of each domain, a guest's type, and a listing of its memory nodes.
const GUEST: usize = 6;
const DOM0: usize = 5;

fn hypercalls<const N: usize>(calls: [(&str, usize); N]) -> BTreeMap<String, usize> {
    calls.into_iter().map(|(call, count)| (call.to_owned(), count)).collect()
}

const LIST: &str = "XEN_SYSCTL_getdomaininfolist";
const MEMORY: &str = "XEN_SYSCTL_physinfo";
const DOMAIN: &str = "XEN_DOMCTL_getdomaininfo";

/// Round trips of a batch of `reads`, and of the listings for `count` guests and dom0.
fn trips(reads: usize, count: u16) -> usize {
    reads.div_ceil(WINDOW) + (usize::from(count) + 1).div_ceil(WINDOW)
}

#[test]
fn a_survey_costs_six_requests_a_guest_and_one_more_for_its_report() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        let guests = usize::from(count);
        for (used, each) in [(Detail::Memory, GUEST), (Detail::Reports, GUEST + 1)] {
            let store = host.connect().unwrap();
            assert_eq!(survey(&host, &*store, &[], used).unwrap().rows.len(), guests + 1);
            let requests = guests * each + DOM0;
            let expected = Cost {
                connections: 1,
                requests,
                round_trips: trips(requests - guests - 1, count),
                commits: 0,
                hypercalls: hypercalls([(LIST, 1), (MEMORY, 1)]),
            };
            assert_eq!(host.take_cost(), expected, "{count} guests, {used:?}");
        }
    }
}

#[test]
fn a_survey_of_names_costs_one_request_a_domain() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        let store = host.connect().unwrap();
        let names = usize::from(count) + 1;
        let survey = survey(&host, &*store, &[], Detail::Names).unwrap();
        assert_eq!(survey.rows.len(), names);
        assert!(survey.rows.iter().all(|row| row.domain.name.is_some() && row.findings.is_empty()));
        let expected = Cost {
            connections: 1,
            requests: names,
            round_trips: names.div_ceil(WINDOW),
            commits: 0,
            hypercalls: hypercalls([(LIST, 1), (MEMORY, 1)]),
        };
        assert_eq!(host.take_cost(), expected, "{count} guests");
    }
}

/// By domid, one guest of many costs as much as a single guest: six requests in two round trips.
#[test]
fn a_survey_of_a_named_domain_does_not_grow_with_the_host() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        let store = host.connect().unwrap();
        let look = |name: &str| {
            let wanted = [name.parse().unwrap()];
            let survey = survey(&host, &*store, &wanted, Detail::Memory).unwrap();
            assert_eq!(survey.rows.len(), 1, "{name}");
        };
        host.take_cost();
        look("7");
        let expected = Cost {
            requests: GUEST,
            round_trips: 2,
            hypercalls: hypercalls([(DOMAIN, 1), (MEMORY, 1)]),
            ..Cost::default()
        };
        assert_eq!(host.take_cost(), expected, "{count} guests");
        look("00000000-0000-4000-8000-000000000007");
        let hypercalls = hypercalls([(LIST, 1), (MEMORY, 1)]);
        let expected = Cost { hypercalls, ..expected };
        assert_eq!(host.take_cost(), expected, "{count} guests");
        // By name, one request more per domain, since names exist in xenstore only.
        look("vm7");
        let names = usize::from(count) + 1;
        let expected =
            Cost { requests: GUEST + names, round_trips: 2 + names.div_ceil(WINDOW), ..expected };
        assert_eq!(host.take_cost(), expected, "{count} guests");
    }
}

#[test]
fn a_check_of_a_host_in_step_costs_a_survey_and_a_listing() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        assert_eq!(check(&host, &[], &NoInterrupt).unwrap().findings, []);
        let reads = usize::from(count) * (GUEST - 1) + DOM0 - 1;
        // Each name below /local/domain takes up to five bytes; messages have 4 KiB, parts half that.
        let names: usize = (0..=count).map(|domid| domid.to_string().len() + 1).sum();
        let listing = if names > 4096 { 1 + names.div_ceil(2048) } else { 1 };
        let expected = Cost {
            connections: 1,
            requests: reads + usize::from(count) + 1 + listing,
            round_trips: trips(reads, count) + listing,
            commits: 0,
            hypercalls: hypercalls([(LIST, 2)]),
        };
        assert_eq!(host.take_cost(), expected, "{count} guests");
    }
}

#[test]
fn a_repair_costs_one_change_for_each_domain_that_needs_it() {
    for count in [10, 100] {
        let host = ManyHost::new(count);
        for guest in host.world().domains.values_mut().skip(1) {
            guest.limit_kib = SIZE;
        }
        let report = check(&host, &[], &NoInterrupt).unwrap();
        let guests = usize::from(count);
        assert_eq!(report.findings.len(), guests);
        host.take_cost();
        let repaired = repair(&host, &report, &[], Duration::ZERO, &NoInterrupt).unwrap();
        assert_eq!((repaired.changes.len(), repaired.after.findings.len()), (guests, 0));
        let cost = host.take_cost();
        assert_eq!(
            (cost.connections, cost.commits),
            (2, guests),
            "the changes, and the check after"
        );
        // A transaction for each: start, reads, writes, commit, and the permissions of three nodes.
        assert!(cost.requests <= guests * (GUEST + 16) + 20, "{count} guests: {cost:?}");
        assert!(cost.round_trips <= guests * 6 + 20, "{count} guests: {cost:?}");
    }
}

#[test]
fn a_monitor_asks_xenstored_nothing_in_a_steady_state() {
    for count in [30, 1000] {
        let host = ManyHost::new(count);
        let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
        let guests = usize::from(count);
        assert_eq!(monitor.look().unwrap().rows.len(), guests + 1);
        let first = host.take_cost();
        // Three watches per guest, two for dom0, two for domains that come and go.
        assert_eq!(first.requests, guests * (3 + GUEST + 1) + 2 + DOM0 + 2, "{count} guests");
        let looks = if count > 100 { 5 } else { 60 };
        for second in 0..looks {
            let now = Kib(SIZE.0 - u64::try_from(second).unwrap() * 4);
            for guest in host.world().domains.values_mut() {
                guest.current_kib = now;
            }
            monitor.wait(Duration::ZERO).unwrap();
            let survey = monitor.look().unwrap();
            assert_eq!(survey.rows[1].memory.info.current, now);
        }
        let expected =
            Cost { hypercalls: hypercalls([(LIST, looks), (MEMORY, looks)]), ..Cost::default() };
        assert_eq!(host.take_cost(), expected, "{count} guests");
    }
}

#[test]
fn a_monitor_reads_only_the_domain_that_changed() {
    let host = ManyHost::new(1000);
    let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
    monitor.look().unwrap();
    host.take_cost();
    host.world().write("/local/domain/500/memory/static-max", "131072");
    monitor.wait(Duration::from_mins(1)).unwrap();
    let survey = monitor.look().unwrap();
    assert_eq!(survey.rows[500].memory.static_max, Ok(Some(Kib(131_072))));
    let cost = host.take_cost();
    assert_eq!((cost.requests, cost.round_trips), (GUEST + 1, 2));
    // Named by domid, no other is read.
    let mut monitor = Monitor::new(&host, &["7".parse().unwrap()], Detail::Memory).unwrap();
    monitor.look().unwrap();
    let cost = host.take_cost();
    assert_eq!(cost.requests, 2 + 2 + GUEST);
    monitor.look().unwrap();
    let expected = Cost { hypercalls: hypercalls([(DOMAIN, 1), (MEMORY, 1)]), ..Cost::default() };
    assert_eq!(host.take_cost(), expected);
}

/// Only such guests can have booted with populate on demand (`XENMEM_get_pod_target`).
#[test]
fn only_guests_below_their_maximum_cost_a_hypercall_for_populate_on_demand() {
    let host = ManyHost::new(100);
    for domid in 1..=40 {
        host.world().write(&format!("/local/domain/{domid}/memory/static-max"), "131072");
    }
    let store = host.connect().unwrap();
    host.take_cost();
    survey(&host, &*store, &[], Detail::Memory).unwrap();
    let cost = host.take_cost();
    assert_eq!(cost.hypercalls.get("XENMEM_get_pod_target"), Some(&40));
}
