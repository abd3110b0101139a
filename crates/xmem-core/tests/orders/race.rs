//! A test of the search itself: without the lock it finds the race that libxl had until 2015.
//!
//! libxl's commit 5f33fa2bca, which introduced the lock, describes the race. Two changes, to 5 and to 3, both start and
//! both write. Then setmaxmem(5), setmaxmem(3), commit(5) succeeds, and commit(3) meets a conflict. Target 5 and limit
//! 3 stay until the second change is repeated, or for good if its process killed first.

use std::sync::{Arc, Mutex};

use shuttle::scheduler::{DfsScheduler, Schedule, Scheduler, Task, TaskId};

use crate::injection::{FailureMode, Injection};
use crate::search::{Found, Search, injections_after, set};
use crate::shared::{Locking, Numbers, numbers, world};

/// All schedules, ending with the first that shows the race.
struct Until<F> {
    all: DfsScheduler,
    found: Arc<Mutex<Found>>,
    is_it: F,
}

impl<F: Fn(&Found) -> bool> Scheduler for Until<F> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let over = (self.is_it)(&self.found.lock().unwrap());
        if over { None } else { self.all.new_execution() }
    }

    fn next_task(&mut self, can: &[&Task], now: Option<TaskId>, yields: bool) -> Option<TaskId> {
        self.all.next_task(can, now, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.all.next_u64()
    }
}

/// The target of the change to 5 GiB with the limit of the change to 3 GiB.
fn race() -> Numbers {
    (5 << 20, numbers(&world()).1, (3 << 20) + 1024)
}

/// Runs a change to 3 GiB with `injections` beside a change to 5 GiB, until `is_it` is seen.
fn search_until(
    locking: Locking,
    injections: &[Injection],
    is_it: impl Fn(&Found) -> bool + 'static,
) -> Found {
    let search = Search::new(&[set("3G"), set("5G")]).with(injections).locking(locking);
    let found = search.found();
    search.run(Until { all: DfsScheduler::new(None, false), found, is_it })
}

#[test]
fn without_the_lock_the_race_of_2015_is_found() {
    let seen = |found: &Found| found.seen.contains(&race());
    let found = search_until(Locking::TakenOut, &[], seen);
    assert!(seen(&found), "not in {} schedules", found.schedules);
    println!("without the lock: {:?}, after {} schedules", race(), found.schedules);
    let found = search_until(Locking::Shared, &[], seen);
    assert!(!seen(&found));
    println!("with it: never, in {} schedules", found.schedules);
}

#[test]
fn without_the_lock_the_race_can_last_for_good() {
    let commit = |injection: &Injection| {
        injection.kind.is_commit() && injection.mode == FailureMode::Killed { done: false }
    };
    let killed = injections_after(set("3G"), &[]).into_iter().find(commit).unwrap();
    let ends = |found: &Found| found.ends.contains(&race());
    let found = search_until(Locking::TakenOut, std::slice::from_ref(&killed), ends);
    assert!(ends(&found), "not in {} schedules", found.schedules);
    // With the lock, the other change recovers from the record, and both its own numbers stand.
    let found = search_until(Locking::Shared, std::slice::from_ref(&killed), ends);
    assert!(!ends(&found) && found.injections > 0);
}
