//! Two changes of one domain, in every order.

use std::env;

use shuttle::scheduler::DfsScheduler;
use xmem_core::plan::MemoryRequest;

use crate::search::{Found, Search, injections_after, max, raise, set};
use crate::shared::Switch;

/// Pairs of changes: both allowed in either order, excluding each other, of both types, and identical.
fn pairs() -> [[MemoryRequest; 2]; 5] {
    [
        [set("3G"), set("5G")],
        [set("5G"), max("4G")],
        [set("3G"), max("6G")],
        [raise("9G"), max("12G")],
        [set("3G"), set("3G")],
    ]
}

/// All schedules.
fn all(search: Search) -> Found {
    search.run(DfsScheduler::new(None, false))
}

#[test]
fn every_interleaving_of_two_changes_is_in_step() {
    let schedules: usize = pairs().map(|pair| all(Search::new(&pair)).schedules).iter().sum();
    println!("{schedules} interleavings of two changes, out of step: 0");
}

/// One change fails at any step, with the other at any point.
#[test]
fn every_interleaving_around_every_failure_is_in_step() {
    // XMEM_ORDERS_FULL also switches before each call of the other change, which takes minutes.
    let full = env::var_os("XMEM_ORDERS_FULL").is_some();
    let switch = if full { Switch::AtEachCall } else { Switch::AtItsCalls };
    let (mut points, mut schedules) = (0, 0);
    let either = pairs().into_iter().flat_map(|[one, other]| [[one, other], [other, one]]);
    for pair in either.take(if full { usize::MAX } else { 6 }) {
        let peace = Search::new(&pair);
        for injection in injections_after(pair[0], &[]) {
            let found = all(peace.with(std::slice::from_ref(&injection)).switching(switch));
            assert!(found.injections > 0, "the failure never happened: {pair:?}, {injection:?}");
            points += 1;
            schedules += found.schedules;
        }
    }
    println!("{schedules} interleavings of two changes, {points} failure points, out of step: 0");
}

/// A second failure while the first is handled, with the other change before or after.
#[test]
fn every_second_failure_leaves_two_changes_in_step() {
    let (mut points, mut schedules) = (0, 0);
    for pair in [[set("3G"), set("5G")], [set("5G"), max("4G")], [max("6G"), set("3G")]] {
        let peace = Search::new(&pair);
        for first in injections_after(pair[0], &[]) {
            for second in injections_after(pair[0], std::slice::from_ref(&first)) {
                let search =
                    peace.with(&[first.clone(), second.clone()]).switching(Switch::AtTheLock);
                let found = all(search);
                assert!(found.injections > 0, "never both: {pair:?}, {first:?}, {second:?}");
                points += 1;
                schedules += found.schedules;
            }
        }
    }
    println!("{schedules} orders of two changes, {points} pairs of failures, out of step: 0");
}
