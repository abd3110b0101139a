//! Each cost as a count per domain plus a constant.

use std::collections::BTreeMap;
use std::time::Duration;

use xen::{DomId, Host as _, Kib, NoInterrupt};
use xmem_core::change::{ChangeRequest, ChangeSession, KeepFree};
use xmem_core::check::{check, repair};
use xmem_core::domain::DomainRef;
use xmem_core::plan::MemoryRequest;
use xmem_core::survey::{Detail, Monitor, survey};

use crate::host::{Cost, ManyHost, SIZE};

const COUNTS: [u16; 3] = [10, 100, 1000];

/// The most requests in flight together.
const WINDOW: usize = 64;

/// Name, target and static-max of a PV or PVH domain in step.
const NUMBERS: usize = 3;
/// Its videoram too, and a listing of its memory nodes.
const FINDINGS: usize = NUMBERS + 2;
/// A guest's report too.
const REPORTS: usize = FINDINGS + 1;

fn hypercalls<const N: usize>(calls: [(&str, usize); N]) -> BTreeMap<String, usize> {
    calls.into_iter().map(|(call, count)| (call.to_owned(), count)).collect()
}

const LIST: &str = "XEN_SYSCTL_getdomaininfolist";
const MEMORY: &str = "XEN_SYSCTL_physinfo";
const DOMAIN: &str = "XEN_DOMCTL_getdomaininfo";
/// For each guest that can have booted with populate on demand.
const POD: &str = "XENMEM_get_pod_target";

/// Round trips for batches of that many requests.
fn trips(batches: impl IntoIterator<Item = usize>) -> usize {
    batches.into_iter().map(|requests| requests.div_ceil(WINDOW)).sum()
}

/// The domains of each connection of a survey: four connections at most, and eight domains at least.
fn shares(guests: usize) -> Vec<usize> {
    let domains = guests + 1;
    let share = domains.div_ceil(4).max(8);
    (0..domains).step_by(share).map(|first| share.min(domains - first)).collect()
}

#[test]
fn a_survey_costs_three_requests_a_domain_and_more_only_for_what_is_shown() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        let guests = usize::from(count);
        let shares = shares(guests);
        assert_eq!(shares.len(), if guests == 10 { 2 } else { 4 });
        for (detail, each, listings) in [
            (Detail::Names, 1, 0),
            (Detail::Numbers, NUMBERS, 0),
            (Detail::Findings, FINDINGS, 1),
            (Detail::Reports, REPORTS, 1),
        ] {
            let store = host.connect().unwrap();
            let survey = survey(&host, &*store, &[], detail).unwrap();
            assert_eq!(survey.rows.len(), guests + 1);
            assert!(survey.rows.iter().all(|row| row.domain.name.is_some()));
            // dom0, the first domain, reports nothing.
            let mut reads: Vec<usize> =
                shares.iter().map(|share| share * (each - listings)).collect();
            reads[0] -= usize::from(detail == Detail::Reports);
            let listings: Vec<usize> = shares.iter().map(|share| share * listings).collect();
            let expected = Cost {
                connections: shares.len(),
                requests: reads.iter().chain(&listings).sum(),
                round_trips: trips(reads) + trips(listings),
                commits: 0,
                hypercalls: match detail {
                    Detail::Names => hypercalls([(LIST, 1), (MEMORY, 1)]),
                    _ => hypercalls([(LIST, 1), (MEMORY, 1), (POD, guests)]),
                },
            };
            assert_eq!(host.take_cost(), expected, "{count} guests, {detail:?}");
        }
    }
}

/// By domid, one guest of many costs as much as a single guest: five requests in two round trips.
#[test]
fn a_survey_of_a_named_domain_does_not_grow_with_the_host() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        let store = host.connect().unwrap();
        let look = |name: &str| {
            let wanted = [name.parse().unwrap()];
            let survey = survey(&host, &*store, &wanted, Detail::Findings).unwrap();
            assert_eq!(survey.rows.len(), 1, "{name}");
        };
        host.take_cost();
        look("7");
        let expected = Cost {
            requests: FINDINGS,
            round_trips: 2,
            hypercalls: hypercalls([(DOMAIN, 1), (MEMORY, 1), (POD, 1)]),
            ..Cost::default()
        };
        assert_eq!(host.take_cost(), expected, "{count} guests");
        look("00000000-0000-4000-8000-000000000007");
        let hypercalls = hypercalls([(LIST, 1), (MEMORY, 1), (POD, 1)]);
        let expected = Cost { hypercalls, ..expected };
        assert_eq!(host.take_cost(), expected, "{count} guests");
        // By name, one request more per domain, since names exist in xenstore only.
        look("vm7");
        let names = usize::from(count) + 1;
        let expected = Cost {
            requests: FINDINGS + names,
            round_trips: 2 + names.div_ceil(WINDOW),
            ..expected
        };
        assert_eq!(host.take_cost(), expected, "{count} guests");
    }
}

#[test]
fn a_check_of_a_host_in_step_costs_a_survey_and_a_listing() {
    for count in COUNTS {
        let host = ManyHost::new(count);
        assert_eq!(check(&host, &[], &NoInterrupt).unwrap().findings, []);
        let shares = shares(count.into());
        // Each name below /local/domain takes up to five bytes; messages have 4 KiB, parts half that.
        let names: usize = (0..=count).map(|domid| domid.to_string().len() + 1).sum();
        let listing = if names > 4096 { 1 + names.div_ceil(2048) } else { 1 };
        let expected = Cost {
            connections: shares.len(),
            requests: (usize::from(count) + 1) * FINDINGS + listing,
            round_trips: trips(shares.iter().flat_map(|share| [share * (FINDINGS - 1), *share]))
                + listing,
            commits: 0,
            hypercalls: hypercalls([(LIST, 2), (POD, usize::from(count))]),
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
        let repaired = repair(&host, &report, &[], Duration::ZERO, &NoInterrupt);
        assert_eq!((repaired.changes.len(), repaired.after.findings.len()), (guests, 0));
        let cost = host.take_cost();
        // The changes, and the check after.
        assert_eq!((cost.connections, cost.commits), (1 + shares(guests).len(), guests));
        // A transaction for each: start, reads, writes, commit, and the permissions of three nodes.
        assert!(cost.requests <= guests * (FINDINGS + 16) + 20, "{count} guests: {cost:?}");
        assert!(cost.round_trips <= guests * 6 + 20, "{count} guests: {cost:?}");
    }
}

/// One list of domains, and two requests for each of the others, all in one batch. Without it: nothing.
#[test]
fn memory_to_keep_free_costs_a_change_that_grows_a_list_and_a_batch_of_reads() {
    let cost = |count: u16, size: &str, keep_free| {
        let host = ManyHost::new(count);
        let request = ChangeRequest {
            domain: DomainRef::Id(DomId::new(1).unwrap()),
            memory: MemoryRequest::Set {
                size: size.parse().unwrap(),
                raise_max: true,
                force: true,
            },
            keep_free,
            dry_run: false,
            lock_timeout: Duration::ZERO,
        };
        ChangeSession::new(&host).change(&request, &NoInterrupt).unwrap();
        host.take_cost()
    };
    let keep_free = |counts_granted| Some(KeepFree { size: Kib(4), counts_granted });
    for count in COUNTS {
        let plain = cost(count, "+4M", None);
        assert_eq!(plain.hypercalls.get(LIST), None, "{plain:?}");
        assert_eq!(cost(count, "+4M", keep_free(false)), plain);
        let mut expected = cost(count, "+4M", keep_free(true));
        assert_eq!(expected.hypercalls.remove(LIST), Some(1));
        let requests = 2 * usize::from(count);
        assert_eq!(expected.requests, plain.requests + requests);
        assert_eq!(expected.round_trips, plain.round_trips + trips([requests]));
        assert_eq!(expected.hypercalls, plain.hypercalls);
        assert_eq!(cost(count, "-4M", keep_free(true)), cost(count, "-4M", None));
    }
}

#[test]
fn a_monitor_asks_xenstored_nothing_in_a_steady_state() {
    for count in [30, 1000] {
        let host = ManyHost::new(count);
        let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
        let guests = usize::from(count);
        assert_eq!(monitor.refresh().unwrap().rows.len(), guests + 1);
        let first = host.take_cost();
        // Four watches per guest, two for dom0, two for domains that come and go.
        assert_eq!(first.requests, guests * (4 + REPORTS) + 2 + FINDINGS + 2, "{count} guests");
        let looks = if count > 100 { 5 } else { 60 };
        for second in 0..looks {
            let now = Kib(SIZE.0 - u64::try_from(second).unwrap() * 4);
            for guest in host.world().domains.values_mut() {
                guest.current_kib = now;
            }
            monitor.wait(Duration::ZERO).unwrap();
            let survey = monitor.refresh().unwrap();
            assert_eq!(survey.rows[1].memory.info.current, now);
        }
        let pods = looks * usize::from(count);
        let hypercalls = hypercalls([(LIST, looks), (MEMORY, looks), (POD, pods)]);
        let expected = Cost { hypercalls, ..Cost::default() };
        assert_eq!(host.take_cost(), expected, "{count} guests");
    }
}

#[test]
fn a_monitor_reads_only_the_domain_that_changed() {
    let host = ManyHost::new(1000);
    let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
    monitor.refresh().unwrap();
    host.take_cost();
    host.world().write("/local/domain/500/memory/static-max", "131072");
    monitor.wait(Duration::from_mins(1)).unwrap();
    let survey = monitor.refresh().unwrap();
    assert_eq!(survey.rows[500].memory.static_max, Ok(Some(Kib(131_072))));
    let cost = host.take_cost();
    assert_eq!((cost.requests, cost.round_trips), (REPORTS, 2));
    // Named by domid, no other is read.
    let mut monitor = Monitor::new(&host, &["7".parse().unwrap()], Detail::Findings).unwrap();
    monitor.refresh().unwrap();
    let cost = host.take_cost();
    assert_eq!(cost.requests, 2 + 2 + FINDINGS);
    monitor.refresh().unwrap();
    let hypercalls = hypercalls([(DOMAIN, 1), (MEMORY, 1), (POD, 1)]);
    assert_eq!(host.take_cost(), Cost { hypercalls, ..Cost::default() });
}
