//! The table of costs, to be read:
//!
//! ```sh
//! XMEM_SCALE=10000 cargo test --release --test scale table -- --nocapture
//! ```

use std::fs;
use std::time::Instant;

use crate::alone;
use crate::host::{ManyHost, TARGET};
use crate::runs::{By, change, list, look, mend, plan};

/// Of so many domains at most, unless `XMEM_SCALE` says another number.
const MOST: u16 = 10;

#[test]
fn table() {
    let _alone = alone();
    let most = most();
    println!("| each domain of | N | requests | round trips | hypercalls | \u{b5}s | KiB in all |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (what, run) in RUNS {
        for count in [10, 100, 1000, 10_000].into_iter().filter(|count| *count <= most) {
            let host = ManyHost::new(count);
            if what == "check --repair" {
                host.set_limits(TARGET);
            }
            forget_peak();
            let (before, begun) = (peak(), Instant::now());
            run(&host, count);
            let (took, peak) = (begun.elapsed().as_micros(), peak().saturating_sub(before));
            let cost = host.take_cost();
            let each = |all: usize| {
                let hundredths = (all * 100).div_ceil(count.into());
                format!("{}.{:02}", hundredths / 100, hundredths % 100)
            };
            println!(
                "| {what} | {count} | {} | {} | {} | {} | {peak} |",
                each(cost.asked.requests),
                each(cost.asked.trips),
                each(cost.hypercalls),
                took / u128::from(count),
            );
        }
    }
}

/// Of how many domains at most costs are told.
pub(crate) fn most() -> u16 {
    std::env::var("XMEM_SCALE").map_or(MOST, |most| most.parse().unwrap())
}

/// What is measured: its words, and a run of it for so many domains.
type Run = (&'static str, fn(&ManyHost, u16));

const RUNS: [Run; 7] = [
    ("list", list),
    ("check", |host, _| assert_eq!(look(host), 0)),
    ("apply -n, by domid", |host, count| drop(plan(host, count, By::Id))),
    ("apply -n, by UUID", |host, count| drop(plan(host, count, By::Uuid))),
    ("apply -n, by name", |host, count| drop(plan(host, count, By::Name))),
    ("apply", |host, count| assert_eq!(change(host, count), usize::from(count))),
    ("check --repair", |host, count| assert_eq!(mend(host), usize::from(count))),
];

/// Has the kernel count the peak anew from here (proc(5), `clear_refs`).
pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The most memory that this process has held since then, in KiB.
pub(crate) fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
