use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use tempfile::TempDir;

use super::super::SimHost;
use super::{host, host_in, many, set_target};
use crate::host::Host as _;
use crate::xenstore::{Answer, StoreError, Xs as _, XsTransaction as _, XsTransactionSpan as _};

const COUNTER: &str = "/local/domain/7/data/counter";

/// The folder in which a child process works.
const CHILD_DIR: &str = "XMEM_TEST_SIM_DIR";

/// Runs the test `child_counts` in a process of its own.
fn child(dir: &TempDir, faults: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "host::sim::tests::processes::child_counts", "--ignored"])
        .env(CHILD_DIR, dir.path())
        .env("XMEM_SIM_FAULT", faults)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "what a child process of other tests does"]
fn child_counts() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    count(&SimHost::open(Some(Path::new(&dir))).unwrap());
}

/// Adds one to the counter, fifty times.
fn count(host: &SimHost) {
    let store = host.connect().unwrap();
    for _ in 0..50 {
        loop {
            let span = store.transaction().unwrap();
            let counter = span.read(COUNTER).map_or(0, |value| value.parse::<u32>().unwrap());
            span.write(COUNTER, &counter.saturating_add(1).to_string()).unwrap();
            match span.commit() {
                Ok(()) => break,
                Err(error) => assert!(StoreError::is(&error, &Answer::Again), "{error}"),
            }
        }
    }
}

fn counter(host: &SimHost) -> u32 {
    host.connect().unwrap().read(COUNTER).unwrap().parse().unwrap()
}

#[test]
fn threads_and_processes_lose_no_change() {
    let start = host("").0;
    for dir in [start, many(40)] {
        let host = host_in(&dir, "");
        let mut children = [child(&dir, ""), child(&dir, "")];
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| count(&host_in(&dir, "")));
            }
        });
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(counter(&host), 200);
    }
}

#[test]
fn a_kill_at_any_instant_leaves_a_good_world() {
    let start = host("").0;
    for dir in [start, many(40)] {
        let host = host_in(&dir, "");
        for delay_us in (0..20).map(|step| step * 700) {
            let mut child = child(&dir, "");
            thread::sleep(Duration::from_micros(delay_us));
            child.kill().unwrap();
            child.wait().unwrap();
            set_target(&host, "4096").unwrap();
        }
    }
}

#[test]
fn faults_that_kill() {
    for (word, done) in [("kill-before-commit", false), ("kill-after-commit", true)] {
        let (dir, host) = host("");
        let status = child(&dir, word).wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{word}");
        assert_eq!(host.connect().unwrap().read(COUNTER).is_ok(), done, "{word}");
        set_target(&host, "4096").unwrap();
    }
}
