//! What each domain may cost, from 10 to 10,000 of them.
//!
//! A bound is `each` for a domain and `once` for the run. What grows faster than the number of domains
//! breaks it at 10,000, if not before.

use xmem::size::Kib;

use crate::alone;
use crate::host::{Cost, ManyHost, TARGET};
use crate::peer::Asked;
use crate::runs::{By, change, list, look, mend, plan};
use crate::table::{forget_peak, peak};

/// A number of domains, and in how many pieces of one size they come.
fn pieces(count: u16, size: usize) -> usize {
    (usize::from(count) + 1).div_ceil(size)
}

/// Reads that are in flight together on a socket, and domains in one hypercall's list.
const WINDOW: usize = 64;
const A_LIST: usize = 34;

/// What a table reads: of dom0, which is PV here, no kind.
fn nodes(count: u16) -> usize {
    usize::from(count) * 7 + 6
}

const fn asked(connections: usize, requests: usize, trips: usize, commits: usize) -> Asked {
    Asked { connections, requests, trips, commits }
}

#[test]
fn a_list_reads_seven_nodes_a_guest_together() {
    let _alone = alone();
    for count in [10, 100, 1000, 10_000] {
        let host = ManyHost::new(count);
        list(&host, count);
        let reads = nodes(count);
        let expected = Cost {
            asked: asked(1, reads, reads.div_ceil(WINDOW), 0),
            hypercalls: pieces(count, A_LIST) + 1,
        };
        assert_eq!(host.take_cost(), expected, "{count} domains");
    }
}

#[test]
fn a_check_of_a_sound_host_is_a_list_and_one_listing() {
    let _alone = alone();
    for count in [10, 100, 1000, 10_000] {
        let host = ManyHost::new(count);
        assert_eq!(look(&host), 0);
        let checked = host.take_cost();
        let reads = nodes(count);
        // The names under /local/domain are six bytes each, with what ends them, in messages of 4 KiB.
        let listing = 2 + pieces(count, 4096 / 6);
        assert!(checked.asked.requests <= reads + listing, "{checked:?}");
        assert!(checked.asked.trips <= reads.div_ceil(WINDOW) + listing, "{checked:?}");
        // The domains once more, to tell which of those names are of none.
        assert_eq!(checked.hypercalls, 2 * pieces(count, A_LIST) + 1);
        assert_eq!(checked.asked.connections, 1);
    }
}

#[test]
fn a_batch_is_looked_at_as_a_whole_however_its_domains_are_called() {
    let _alone = alone();
    for count in [10, 100, 1000, 10_000] {
        for by in [By::Id, By::Name, By::Uuid] {
            let host = ManyHost::new(count);
            plan(&host, count, by);
            let nodes = usize::from(count) * 4;
            // Who is called so has to be looked for among all.
            let names = if matches!(by, By::Name) { usize::from(count) + 1 } else { 0 };
            let expected = Cost {
                asked: asked(1, nodes + names, nodes.div_ceil(WINDOW) + names.div_ceil(WINDOW), 0),
                hypercalls: pieces(count, A_LIST),
            };
            assert_eq!(host.take_cost(), expected, "{count} domains {by:?}");
        }
    }
}

/// Each change has a transaction of its own: started, read in, written in, committed.
#[test]
fn a_change_of_a_batch_costs_four_round_trips_over_one_connection() {
    let _alone = alone();
    for count in [10, 100, 1000] {
        let host = ManyHost::new(count);
        plan(&host, count, By::Id);
        let looked = host.take_cost();
        assert_eq!(change(&host, count), usize::from(count));
        let made = host.take_cost();
        let each = usize::from(count);
        let expected = asked(
            looked.asked.connections + 1,
            looked.asked.requests + each * 8,
            looked.asked.trips + each * 4,
            each,
        );
        assert_eq!(made.asked, expected, "{count} domains");
        // Who it is, twice; the limit; the PoD target. Of one that grows also what it holds, and what is
        // free, twice. All domains once, before the first one that grows.
        let grows = each / 2;
        let hypercalls = looked.hypercalls + each * 4 + grows * 3 + pieces(count, A_LIST);
        assert!(made.hypercalls <= hypercalls, "{count} domains: {made:?}");
    }
}

/// The host has just what the guests need, and each takes what it gets at once: what is free falls while
/// what is promised does not, until all guests are looked at again.
#[test]
fn guests_that_take_what_they_are_given_are_seldom_all_looked_at() {
    let _alone = alone();
    // Half of them grow by 32 MiB, when the other half has given 16 MiB each.
    let need = |count: u16| Kib::from_mib(u64::from(count) / 2 * 16);
    let cost = |count: u16| {
        let host = ManyHost::with_quick_guests(count, need(count));
        assert_eq!(change(&host, count), usize::from(count));
        assert_eq!(host.free(), Kib(0));
        host.take_cost().hypercalls
    };
    // Twice the guests: twice the calls, and one more look at all.
    let (some, more) = (cost(100), cost(200));
    assert!(more <= 2 * some + 2 * pieces(200, A_LIST), "{some} calls, then {more}");
    // Nobody gets what is not there.
    let host = ManyHost::with_quick_guests(100, Kib(need(100).0 - 4));
    assert_eq!(change(&host, 100), 99);
    assert_eq!(host.free(), Kib(32 * 1024 - 4));
}

#[test]
fn mending_costs_a_change_for_each_that_needs_it_over_one_connection() {
    let _alone = alone();
    for count in [10, 100, 1000] {
        let host = ManyHost::new(count);
        host.set_limits(TARGET);
        assert_eq!(mend(&host), usize::from(count));
        let cost = host.take_cost();
        assert_eq!(cost.asked.connections, 3, "the check before, the mending, the check after");
        assert_eq!(cost.asked.commits, usize::from(count));
        let each = usize::from(count);
        // Three looks: two that agree before, and one after. Then four reads, a write between the ends of a
        // transaction, and twice (before it is offered, and when it is done) who may write the three nodes whose
        // word raises the limit.
        assert!(
            cost.asked.requests <= each * (3 * 7 + 7 + 2 * 3) + 60,
            "{count} domains: {cost:?}"
        );
        assert!(cost.asked.trips <= each * 7 + 30, "{count} domains: {cost:?}");
        assert!(cost.hypercalls <= each * 4 + 20, "{count} domains: {cost:?}");
    }
}

/// Ten times the domains hold no more than ten times the memory: 4 KiB for each is ample, and what is
/// kept of each pair of 10,000 would be 100 MB.
#[test]
fn memory_grows_as_the_number_of_domains_does() {
    let _alone = alone();
    let host = ManyHost::new(10_000);
    let runs: [(&str, &dyn Fn()); 3] = [
        ("list", &|| list(&host, 10_000)),
        ("check", &|| assert_eq!(look(&host), 0)),
        ("apply -n", &|| drop(plan(&host, 10_000, By::Name))),
    ];
    for (what, run) in runs {
        forget_peak();
        let before = peak();
        run();
        let grown = peak().saturating_sub(before);
        assert!(grown <= 40_000, "{what} of 10,000 domains took {grown} KiB");
    }
}
