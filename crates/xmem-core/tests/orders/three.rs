//! Three random changes, with random failures of the first, in a random order.

use std::env;

use fastrand::Rng;
use shuttle::scheduler::RandomScheduler;
use xmem_core::plan::MemoryRequest;

use crate::search::{Search, injections_after, max, raise, set};

/// The number of schedules per seed.
const SCHEDULES: usize = 10;

fn requests() -> [MemoryRequest; 9] {
    [
        set("3G"),
        set("4G"),
        set("5G"),
        set("+1G"),
        set("-512M"),
        raise("9G"),
        max("4G"),
        max("6G"),
        max("12G"),
    ]
}

/// Prints the seed if a search fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: XMEM_ORDERS_SEED={} XMEM_ORDERS_SEEDS=1", self.0);
        }
    }
}

#[test]
fn three_changes_at_random_stay_in_step() {
    let number = |key, otherwise| env::var(key).map_or(otherwise, |text| text.parse().unwrap());
    let (first, seeds) = (number("XMEM_ORDERS_SEED", 0), number("XMEM_ORDERS_SEEDS", 300));
    let (mut schedules, mut injections) = (0, 0);
    for seed in first..first + seeds {
        let _printed = Seed(seed);
        let mut random = Rng::with_seed(seed);
        let three: Vec<MemoryRequest> =
            (0..3).map(|_| random.choice(requests()).unwrap()).collect();
        let mut search = Search::new(&three);
        if random.bool() {
            search = search.with(&[random.choice(injections_after(three[0], &[])).unwrap()]);
            injections += 1;
        }
        schedules += search.run(RandomScheduler::new_from_seed(seed, SCHEDULES)).schedules;
    }
    println!(
        "{schedules} interleavings of three changes (seeds {first} to {}), {injections} of the seeds with a failure, out of step: 0",
        first + seeds - 1
    );
}
