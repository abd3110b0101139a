//! Many domains on the sim: what its calls cost for each.
//!
//! Counted is what the kernel was asked to read and write for this thread: bytes and calls, exact where times
//! are not. The guests' balloons rest, since what they move by depends on the time.
//!
//! ```sh
//! XMEM_SCALE=10000 cargo test --release --test scale table_sim -- --nocapture
//! ```

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use tempfile::TempDir;
use xmem::change::End;
use xmem::host::sim::{Fault, Faults, SimHost};
use xmem::size::Kib;

use crate::alone;
use crate::host::uuid;
use crate::runs::{By, apply_each, list, look, plan};
use crate::table::{forget_peak, most, peak};

/// A folder with dom0 and `count` guests in it, called `vm1` and so on, all in step, whose balloons move by so
/// much in a second.
fn world(count: u16, rate: Kib) -> TempDir {
    let rate = rate.0;
    let (mut domains, mut nodes) = (String::new(), String::new());
    for number in 0..=count {
        let (comma, uuid) = (if number == 0 { "" } else { "," }, uuid(number));
        write!(
            domains,
            r#"{comma}"{number}":{{"uuid":"{uuid}","current_kib":65536,"limit_kib":66560,
            "rate_kib_per_second":{rate}}}"#
        )
        .unwrap();
        let path = format!("/local/domain/{number}");
        write!(
            nodes,
            r#"{comma}"{path}/name":"vm{number}","{path}/domid":"{number}","{path}/vm":"/vm/{uuid}",
            "{path}/memory/target":"65536","{path}/memory/static-max":"131072",
            "{path}/memory/videoram":"0","/libxl/{number}/type":"pvh","/vm/{uuid}/memory":"64""#
        )
        .unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let world = format!(
        r#"{{"version":1,"memory_kib":4294967296,"domains":{{{domains}}},"xenstore":{{{nodes}}}}}"#
    );
    fs::write(dir.path().join("world.json"), world).unwrap();
    dir
}

/// So slow that all guests still move when the last one is told to.
const SLOW: Kib = Kib(64);

/// What this thread has had the kernel read and write.
#[derive(Clone, Copy, Debug)]
struct Io {
    bytes: u64,
    calls: u64,
}

impl Io {
    fn so_far() -> Self {
        let text = fs::read_to_string("/proc/thread-self/io").unwrap();
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().parse().unwrap()
        };
        Self { bytes: field("rchar") + field("wchar"), calls: field("syscr") + field("syscw") }
    }

    fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, calls: self.calls - before.calls }
    }
}

/// One run of xmem in `dir`, from the opening of the folder to its end.
fn run(dir: &TempDir, faults: &Faults, what: &str, count: u16) {
    let host = SimHost::with_faults(Some(dir.path()), faults.clone()).unwrap();
    match what {
        "list" => list(&host, count),
        "check" => assert_eq!(look(&host), 0),
        "apply -n" => drop(plan(&host, count, By::Name)),
        _ => {
            let mut made = 0;
            apply_each(&host, count, &mut |_, outcome| {
                assert_eq!(outcome.end, End::Changed);
                made += 1;
            });
            assert_eq!(made, count);
        }
    }
}

fn counted(what: &str, count: u16) -> Io {
    let (dir, faults) = (world(count, SLOW), Faults::from_iter([Fault::GuestIgnores]));
    let before = Io::so_far();
    run(&dir, &faults, what, count);
    Io::so_far().since(before)
}

/// What each domain costs is the same when there are ten times as many: the world is read once and, of a change,
/// written a few times, whatever is done with it.
#[test]
fn each_domain_of_a_sim_costs_the_same() {
    let _alone = alone();
    // For each domain: bytes, and calls that read or write.
    let bounds = [("list", 700, 0), ("check", 700, 0), ("apply -n", 700, 0), ("apply", 3500, 4)];
    for (what, bytes, calls) in bounds {
        let mut last = None;
        for count in [100_u16, 1000] {
            let io = counted(what, count);
            let each = u64::from(count);
            assert!(io.bytes <= each * bytes, "{what} {count}: {io:?}");
            assert!(io.calls <= each * calls + 100, "{what} {count}: {io:?}");
            // Numbers have more digits.
            if let Some(last) = last.replace(io) {
                let Io { bytes, calls }: Io = last;
                assert!(io.bytes <= bytes * 23 / 2, "{what} {count}: {io:?} after {last:?}");
                assert!(io.calls <= calls * 21 / 2, "{what} {count}: {io:?} after {last:?}");
            }
        }
    }
}

/// A small world is written as a whole at each change, and none of them is longer than that takes.
#[test]
fn a_change_of_a_small_sim_costs_as_little_as_ever() {
    let _alone = alone();
    for count in [3_u16, 10] {
        let io = counted("apply", count);
        assert!(io.bytes / u64::from(count) <= 12 * 16_384, "{count}: {io:?}");
    }
}

/// Nanoseconds that this thread has had a processor.
fn worked() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Nor does anything in between look at all domains, or copy them: that is not for the kernel to see, and ten
/// times the domains would take a hundred times as long. No other load on the machine makes it four times ten.
#[test]
fn no_call_looks_at_all_domains() {
    let _alone = alone();
    let took = |count: u16| {
        let run = || {
            let dir = world(count, SLOW);
            let before = worked();
            run(&dir, &Faults::default(), "apply", count);
            worked() - before
        };
        (0..3).map(|_| run()).min().unwrap()
    };
    let (some, more) = (took(50), took(500));
    assert!(more <= some * 40, "{some} ns for 50 domains, {more} ns for 500");
}

#[test]
fn memory_of_a_sim_grows_as_the_number_of_its_domains_does() {
    let _alone = alone();
    let count = 3000;
    let (dir, faults) = (world(count, SLOW), Faults::from_iter([Fault::GuestIgnores]));
    for what in ["list", "check", "apply -n", "apply"] {
        forget_peak();
        let before = peak();
        run(&dir, &faults, what, count);
        let grown = peak().saturating_sub(before);
        assert!(grown <= u64::from(count) * 12, "{what} of {count} domains took {grown} KiB");
    }
}

/// What is measured. Where it is not said that balloons move, they do not.
const TABLE: [&str; 6] = [
    "list",
    "check",
    "apply -n",
    "apply",
    "apply, and balloons move",
    "apply, and they move slowly",
];

#[test]
fn table_sim() {
    let _alone = alone();
    let most = most();
    println!("| each domain of | N | bytes read and written | reads and writes | \u{b5}s | KiB |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for what in TABLE {
        for count in [10, 100, 1000, 10_000].into_iter().filter(|count| *count <= most) {
            let slowly = what.ends_with("slowly");
            let dir = world(count, if slowly { SLOW } else { Kib::from_mib(256) });
            let rest = (!what.contains("move")).then_some(Fault::GuestIgnores);
            let faults = rest.into_iter().collect();
            forget_peak();
            let (held, before, begun) = (peak(), Io::so_far(), Instant::now());
            run(&dir, &faults, what, count);
            let (took, io) = (begun.elapsed().as_micros(), Io::so_far().since(before));
            let grown = peak().saturating_sub(held);
            let each = |all: u64| all.div_ceil(count.into());
            println!(
                "| {what} | {count} | {} | {} | {} | {} |",
                each(io.bytes),
                each(io.calls),
                took / u128::from(count),
                each(grown),
            );
        }
    }
}
