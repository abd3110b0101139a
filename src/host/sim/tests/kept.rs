//! A large world, which goes on in a journal: whatever happens to its files, what is found is the world
//! before a change or the world after it, and what somebody has put there by hand is not overruled.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::{env, fs};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::super::SimHost;
use super::super::step::KILL_AT;
use super::{dom, host_in, many, names};
use crate::host::Host as _;
use crate::hypervisor::Hypervisor as _;
use crate::size::Kib;
use crate::xenstore::{Xs as _, XsTransaction as _, XsTransactionSpan as _};

const WORLD: &str = "world.json";
const JOURNAL: &str = "world.journal";
const COUNTER: &str = "/local/domain/7/data/counter";

/// A sim of 40 guests that rest.
fn large() -> (TempDir, SimHost) {
    let dir = many(40);
    let host = host_in(&dir, "guest-ignores");
    (dir, host)
}

fn open(dir: &TempDir) -> SimHost {
    host_in(dir, "guest-ignores")
}

fn put(host: &SimHost, number: u32) {
    host.connect().unwrap().write(COUNTER, &number.to_string()).unwrap();
}

/// The counter, if anybody has ever counted.
fn counter(host: &SimHost) -> Option<u32> {
    host.connect().unwrap().read(COUNTER).ok().map(|value| value.parse().unwrap())
}

/// What is left when all that use the folder are killed at this moment.
fn killed(dir: &TempDir) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    for name in names(dir.path()).iter().filter(|name| *name != "lib") {
        fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    left
}

fn journal(dir: &TempDir) -> PathBuf {
    dir.path().join(JOURNAL)
}

fn world(dir: &TempDir) -> Value {
    serde_json::from_slice(&fs::read(dir.path().join(WORLD)).unwrap()).unwrap()
}

/// The world is whole in its file, and goes on nowhere.
fn assert_left(dir: &TempDir) {
    assert_eq!(names(dir.path()), ["lib", WORLD, "world.lock"]);
    assert_eq!(world(dir).get("journal"), None);
}

#[test]
fn a_change_of_a_large_world_is_a_line_until_the_last_one_leaves() {
    let (dir, host) = large();
    put(&host, 0);
    let inode = || fs::metadata(dir.path().join(WORLD)).unwrap().ino();
    let (begun, length) = (inode(), fs::metadata(journal(&dir)).unwrap().len());
    for number in 1..=10 {
        put(&host, number);
        host.hypervisor().set_limit(dom(7), Kib(u64::from(number) * 4)).unwrap();
    }
    assert_eq!(inode(), begun, "the world was written again");
    let grown = fs::metadata(journal(&dir)).unwrap().len() - length;
    assert!(grown < 10 * 600, "{grown} bytes for ten changes of each kind");

    let other = open(&dir);
    assert_eq!(counter(&other), Some(10));
    put(&other, 11);
    assert_eq!(counter(&host), Some(11));
    drop(host);
    assert!(journal(&dir).exists(), "somebody goes on with it");
    put(&other, 12);
    drop(other);
    assert_left(&dir);
    assert_eq!(world(&dir)["xenstore"][COUNTER], "12");
    assert_eq!(world(&dir)["domains"]["7"]["limit_kib"], 40);
}

/// Whoever opens the folder of a killed process, and be it only to look, leaves it whole.
#[test]
fn a_killed_process_leaves_nothing_for_long() {
    let (dir, host) = large();
    put(&host, 1);
    put(&host, 2);
    let left = killed(&dir);
    assert!(journal(&left).exists() && world(&left).get("journal").is_some());
    assert_eq!(counter(&open(&left)), Some(2));
    assert_left(&left);
    assert_eq!(world(&left)["xenstore"][COUNTER], "2");
}

#[test]
fn a_look_at_a_large_world_writes_nothing() {
    let (dir, host) = large();
    let before = fs::metadata(dir.path().join(WORLD)).unwrap().ino();
    assert_eq!((counter(&host), host.hypervisor().domains().unwrap().len()), (None, 41));
    drop(host);
    assert_eq!(fs::metadata(dir.path().join(WORLD)).unwrap().ino(), before);
    assert_left(&dir);
}

#[test]
fn a_torn_line_is_a_change_that_never_happened() {
    let (dir, host) = large();
    put(&host, 1);
    put(&host, 2);
    let whole = usize::try_from(fs::metadata(journal(&dir)).unwrap().len()).unwrap();
    let span = host.connect().unwrap().transaction().unwrap();
    span.write(COUNTER, "3").unwrap();
    span.write("/data/long", &"x".repeat(200)).unwrap();
    span.commit().unwrap();
    let left = killed(&dir);
    let text = fs::read(journal(&left)).unwrap();
    let world = fs::read(left.path().join(WORLD)).unwrap();
    for length in (whole..text.len()).step_by(5).chain(text.len() - 3..=text.len()) {
        fs::write(left.path().join(WORLD), &world).unwrap();
        fs::write(journal(&left), &text[..length]).unwrap();
        let host = open(&left);
        let expected = if length == text.len() { 3 } else { 2 };
        assert_eq!(counter(&host), Some(expected), "{length} of {} bytes", text.len());
        put(&host, 4);
        assert_eq!(counter(&open(&killed(&left))), Some(4));
        // Nobody is to read again and again what is not to be believed.
        let now = fs::read_to_string(journal(&left)).unwrap();
        let lines = if expected == 3 { 4 } else { 3 };
        assert!(now.ends_with('\n') && now.lines().count() == lines, "{length}: {now}");
    }
}

#[test]
fn a_line_that_has_changed_ends_what_is_believed() {
    let (dir, host) = large();
    put(&host, 1);
    let whole = usize::try_from(fs::metadata(journal(&dir)).unwrap().len()).unwrap();
    put(&host, 2);
    put(&host, 3);
    let left = killed(&dir);
    let text = fs::read(journal(&left)).unwrap();
    let world = fs::read(left.path().join(WORLD)).unwrap();
    for at in whole..text.len() {
        let mut text = text.clone();
        text[at] ^= 1;
        fs::write(left.path().join(WORLD), &world).unwrap();
        fs::write(journal(&left), &text).unwrap();
        let found = counter(&open(&left)).unwrap();
        assert!(found < 3, "byte {at}");
    }
}

/// Whoever edits a world by hand means what he sees there, and not what a killed process had not written yet.
#[test]
fn an_edited_world_is_what_it_says() {
    let (dir, host) = large();
    put(&host, 1);
    put(&host, 2);
    let left = killed(&dir);
    let edited = fs::read_to_string(left.path().join(WORLD)).unwrap();
    let edited = edited.replace("\"vm7\"", "\"seven\"");
    fs::write(left.path().join(WORLD), edited).unwrap();
    let host = open(&left);
    assert_eq!(counter(&host), Some(1));
    assert_eq!(&*host.connect().unwrap().read("/local/domain/7/name").unwrap(), "seven");
    put(&host, 3);
    drop(host);
    assert_left(&left);
    assert_eq!(world(&left)["xenstore"][COUNTER], "3");
}

#[test]
fn an_edit_by_hand_is_seen_also_while_the_journal_is_used() {
    let (dir, host) = large();
    put(&host, 1);
    put(&host, 2);
    let edited =
        fs::read_to_string(dir.path().join(WORLD)).unwrap().replace("\"vm7\"", "\"seven\"");
    fs::write(dir.path().join(WORLD), edited).unwrap();
    assert_eq!(counter(&host), Some(1));
    put(&host, 3);
    drop(host);
    assert_left(&dir);
    assert_eq!(world(&dir)["xenstore"]["/local/domain/7/name"], "seven");
    assert_eq!(world(&dir)["xenstore"][COUNTER], "3");
}

#[test]
fn a_world_that_is_removed_begins_anew() {
    let (dir, host) = large();
    put(&host, 1);
    put(&host, 2);
    let left = killed(&dir);
    fs::remove_file(left.path().join(WORLD)).unwrap();
    let host = open(&left);
    assert_eq!((counter(&host), host.hypervisor().domains().unwrap().len()), (None, 4));
    assert_left(&left);
    // And while somebody uses it.
    fs::remove_file(dir.path().join(WORLD)).unwrap();
    let host = open(&dir);
    assert_eq!((counter(&host), host.hypervisor().domains().unwrap().len()), (None, 4));
    assert_left(&dir);
}

/// A script that puts the same world there before each of its runs, some of which are killed, finds that world.
#[test]
fn a_copy_that_is_put_back_meets_no_journal_of_another_copy() {
    let dir = many(40);
    let template = fs::read(dir.path().join(WORLD)).unwrap();
    let mut left = dir;
    for round in 1..=3 {
        fs::write(left.path().join(WORLD), &template).unwrap();
        let host = open(&left);
        assert_eq!(counter(&host), None, "round {round}");
        put(&host, round);
        host.connect().unwrap().write("/data/round", &round.to_string()).unwrap();
        left = killed(&left);
    }
    let host = open(&left);
    assert_eq!(counter(&host), Some(3));
    drop(host);
    // Also a copy that was taken while the world had a journal.
    let host = open(&left);
    put(&host, 4);
    let copy = fs::read(left.path().join(WORLD)).unwrap();
    put(&host, 5);
    drop(host);
    for round in 6..=7 {
        fs::write(left.path().join(WORLD), &copy).unwrap();
        let host = open(&left);
        assert_eq!(counter(&host), Some(4), "round {round}");
        put(&host, round);
        put(&host, round);
        left = killed(&left);
    }
}

#[test]
fn a_journal_that_is_lost_takes_its_changes_with_it_and_no_more() {
    let (dir, host) = large();
    put(&host, 1);
    put(&host, 2);
    fs::remove_file(journal(&dir)).unwrap();
    assert_eq!(counter(&host), Some(1));
    put(&host, 3);
    put(&host, 4);
    assert_eq!(counter(&open(&killed(&dir))), Some(4));
}

#[test]
fn a_journal_is_never_much_more_than_its_world() {
    let (dir, host) = large();
    let value = "x".repeat(2000);
    let store = host.connect().unwrap();
    let length = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |found| found.len());
    for _ in 0..100 {
        store.write("/data/value", &value).unwrap();
        assert!(length(JOURNAL) <= length(WORLD) + 2200);
    }
    assert_eq!(counter(&host), None);
}

/// A balloon that moves is found where it is by whoever looks, and rests in the end.
#[test]
fn balloons_move_in_a_large_world() {
    let dir = many(40);
    let host = host_in(&dir, "");
    for domid in 1..=40 {
        let path = format!("/local/domain/{domid}/memory/target");
        host.connect().unwrap().write(&path, "61440").unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(40));
    let held = |host: &SimHost| {
        let domains = host.hypervisor().domains().unwrap();
        domains.iter().skip(1).map(|info| info.current.0).collect::<Vec<_>>()
    };
    assert_eq!(held(&host), [61_440; 40]);
    assert_eq!(
        host.hypervisor().host_memory().unwrap().free,
        Kib((4 << 30) - 2_097_152 - 40 * 61_440)
    );
    drop(host);
    assert_left(&dir);
    assert_eq!(held(&open(&dir)), [61_440; 40]);
    assert_eq!(world(&dir)["domains"]["7"].get("moving_since_ms"), None);
}

/// What one of several that use a world at once does next.
#[derive(Clone, Debug)]
enum Act {
    /// Comes, if it is not there.
    Come,
    /// Goes, if it is there.
    Go,
    /// Writes a long value to one of a few nodes.
    Write(usize, u16),
    /// Removes one of them.
    Remove(usize),
    /// Sets a limit.
    Limit(u32, u64),
    /// Looks at all.
    Look,
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let act = prop_oneof![
        2 => Just(Act::Come),
        1 => Just(Act::Go),
        4 => (0_usize..3, any::<u16>()).prop_map(|(node, value)| Act::Write(node, value)),
        1 => (0_usize..3).prop_map(Act::Remove),
        2 => (1_u32..4, 1_u64..99).prop_map(|(domid, pages)| Act::Limit(domid, pages)),
        2 => Just(Act::Look),
    ];
    prop::collection::vec((0_usize..3, act), 1..60)
}

/// What is to be found.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<usize, String>,
    limits: BTreeMap<u32, Kib>,
}

impl Model {
    fn assert_found(&self, host: &SimHost) {
        let store = host.connect().unwrap();
        for node in 0..3 {
            let value = store.read(&format!("/data/{node}")).ok().map(String::from);
            assert_eq!(value, self.nodes.get(&node).cloned(), "/data/{node}");
        }
        for domid in 1..4 {
            let limit = host.hypervisor().domain(dom(domid)).unwrap().unwrap().limit;
            let expected = self.limits.get(&domid).copied().unwrap_or(Kib(66_560));
            assert_eq!(limit, expected, "{domid}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Several that come and go find what each of them has done, as does who comes when all were killed.
    #[test]
    fn all_find_what_each_has_done(acts in acts()) {
        let dir = many(25);
        let mut hosts = [None, None, None];
        let mut model = Model::default();
        for (who, act) in acts {
            let host = &mut hosts[who];
            match (act, host.as_ref()) {
                (Act::Come, None) => *host = Some(open(&dir)),
                (Act::Go, Some(_)) => *host = None,
                (Act::Write(node, value), Some(host)) => {
                    let value = format!("{value:03000}");
                    host.connect().unwrap().write(&format!("/data/{node}"), &value).unwrap();
                    model.nodes.insert(node, value);
                }
                (Act::Remove(node), Some(host)) => {
                    drop(host.connect().unwrap().rm(&format!("/data/{node}")));
                    model.nodes.remove(&node);
                }
                (Act::Limit(domid, pages), Some(host)) => {
                    host.hypervisor().set_limit(dom(domid), Kib::from_pages(pages)).unwrap();
                    model.limits.insert(domid, Kib::from_pages(pages));
                }
                (Act::Look, Some(host)) => model.assert_found(host),
                _ => {}
            }
        }
        if dir.path().join("world.lock").exists() {
            let left = killed(&dir);
            model.assert_found(&open(&left));
            assert_left(&left);
            drop(hosts);
            assert_left(&dir);
            model.assert_found(&open(&dir));
        }
    }
}

const CHILD_DIR: &str = "XMEM_TEST_SIM_DIR";
const CHILD_TELLS: &str = "XMEM_TEST_SIM_TELLS";
const TWIN: &str = "/local/domain/8/data/counter";

#[test]
#[ignore = "what a child process of other tests does"]
fn child_keeps() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let host = SimHost::with_faults(Some(Path::new(&dir)), "guest-ignores".parse().unwrap());
    let (host, tells) = (host.unwrap(), env::var_os(CHILD_TELLS).unwrap());
    let store = host.connect().unwrap();
    for number in 1..=10_u32 {
        let span = store.transaction().unwrap();
        span.write(COUNTER, &number.to_string()).unwrap();
        // Long, so that the journal outgrows the world in time.
        span.write(TWIN, &format!("{number:04000}")).unwrap();
        span.commit().unwrap();
        fs::write(&tells, number.to_string()).unwrap();
    }
}

/// Runs the test `child_keeps` in a process of its own, which is killed at that step, if it comes to it: how it
/// ended, and how many of its changes it could tell of.
fn child(dir: &TempDir, kill_at: usize) -> (ExitStatus, u32) {
    run(dir, Command::new(env::current_exe().unwrap()).env(KILL_AT, kill_at.to_string()))
}

/// Runs it by `command`, which is given what it needs.
fn run(dir: &TempDir, command: &mut Command) -> (ExitStatus, u32) {
    let outside = tempfile::tempdir().unwrap();
    let tells = outside.path().join("told");
    let status = command
        .args(["--exact", "host::sim::tests::kept::child_keeps", "--ignored"])
        .env(CHILD_DIR, dir.path())
        .env(CHILD_TELLS, &tells)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    (status, fs::read_to_string(&tells).map_or(0, |told| told.parse().unwrap()))
}

/// A process is killed before each single thing that it does to the folder, from its first change to its leave.
#[test]
fn a_kill_between_any_two_steps_leaves_the_world_before_or_after() {
    let (mut steps, mut with_journal) = (0, 0);
    loop {
        // Small at first, and large after the first change.
        let dir = many(25);
        let (status, told) = child(&dir, steps);
        with_journal += usize::from(journal(&dir).exists());
        let host = open(&dir);
        let found = counter(&host).unwrap_or(0);
        assert!(found == told || found == told + 1, "step {steps}: {told} told, {found} found");
        let twin = host.connect().unwrap().read(TWIN).ok();
        assert_eq!(twin.map_or(0, |twin| twin.parse().unwrap()), found, "step {steps}: half");
        put(&host, 99);
        put(&host, 100);
        drop(host);
        assert_left(&dir);
        assert_eq!(counter(&open(&dir)), Some(100), "step {steps}");
        if status.success() {
            assert_eq!(found, 10);
            break;
        }
        assert_eq!(status.signal(), Some(9), "step {steps}");
        steps += 1;
    }
    assert!(steps > 30, "{steps} steps: it was to begin a journal twice, and to leave");
    assert!(with_journal > 20, "{with_journal} of {steps} kills left a journal");
}

/// No file may become longer than so much: a line is written as far as there is room, and the process is killed
/// by the kernel, or goes on with an error.
#[test]
fn a_line_for_which_there_is_no_room_has_never_been() {
    let mut torn = 0;
    for signal in ["", "trap '' XFSZ; "] {
        // A block is half a KiB, or a whole one.
        for blocks in (20..100).step_by(2) {
            let dir = many(40);
            let limited = format!("{signal}ulimit -f {blocks}; exec \"$0\" \"$@\"");
            let program = env::current_exe().unwrap();
            let (status, told) = run(&dir, Command::new("sh").arg("-c").arg(limited).arg(program));
            let text = fs::read(journal(&dir)).unwrap_or_default();
            torn += usize::from(text.last().is_some_and(|last| *last != b'\n'));
            if status.success() {
                break;
            }
            let host = open(&dir);
            assert_eq!(counter(&host).unwrap_or(0), told, "{blocks} blocks, {signal}");
            put(&host, 99);
            drop(host);
            assert_left(&dir);
            assert_eq!(counter(&open(&dir)), Some(99));
        }
    }
    assert!(torn > 3, "{torn} torn lines");
}

/// Not even if the second run comes as far as to write the very same world, and no farther.
#[test]
fn a_killed_run_meets_no_journal_of_the_one_before() {
    for step in 0..8 {
        let dir = many(40);
        let template = fs::read(dir.path().join(WORLD)).unwrap();
        let (_, told) = child(&dir, 15);
        assert!(told > 2 && journal(&dir).exists());
        fs::write(dir.path().join(WORLD), &template).unwrap();
        let (_, told) = child(&dir, step);
        let found = counter(&open(&dir)).unwrap_or(0);
        assert!(found == told || found == told + 1, "step {step}: {told} told, {found} found");
    }
}
