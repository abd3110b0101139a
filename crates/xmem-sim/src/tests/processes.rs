use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use xen::Host as _;
use xen::xenstore::Answer;

use super::{host, host_in, read, set_target};
use crate::SimHost;

pub(super) const COUNTER: &str = "/local/domain/7/data/counter";

/// The directory in which a child process works.
const CHILD_DIR: &str = "XMEM_TEST_SIM_DIR";

fn child(dir: &Path, faults: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "tests::processes::child_increments_the_counter", "--ignored"])
        .env(CHILD_DIR, dir)
        .env("XMEM_SIM_FAULT", faults)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "run as a child process by other tests"]
fn child_increments_the_counter() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    count(&SimHost::open(Some(Path::new(&dir))).unwrap(), 50);
}

/// Increments the counter `times` times.
pub(super) fn count(host: &SimHost, times: u32) {
    let store = host.connect().unwrap();
    for _ in 0..times {
        loop {
            let transaction = store.begin().unwrap();
            let value = transaction.read_each(&[COUNTER]).unwrap().remove(0);
            let count =
                value.map_or(0, |it| String::from_utf8(it).unwrap().parse::<u32>().unwrap());
            transaction.write_each(&[(COUNTER, &count.saturating_add(1).to_string())]).unwrap();
            match transaction.commit() {
                Ok(()) => break,
                Err(error) => assert!(error.is(&Answer::Again), "{error}"),
            }
        }
    }
}

#[test]
fn concurrent_processes_lose_no_change() {
    let (dir, host) = host("");
    let mut children = [child(dir.path(), ""), child(dir.path(), "")];
    count(&host, 50);
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(read(&host, COUNTER).unwrap(), "150");
}

#[test]
fn a_kill_at_any_moment_leaves_a_complete_world() {
    let (dir, host) = host("");
    let mut torn = 0;
    for step in 0..40 {
        let mut child = child(dir.path(), "");
        thread::sleep(Duration::from_micros(2000 + step * 300));
        child.kill().unwrap();
        child.wait().unwrap();
        torn += u32::from(dir.path().join("world.json.new").exists());
        set_target(&host, &(4096 + step * 4).to_string()).unwrap();
    }
    println!("killed during a write: {torn} times");
}

/// A kill between the creation and the rename of the next world leaves this.
#[test]
fn an_incomplete_next_world_is_ignored() {
    let (dir, host) = host("");
    for torn in [&b"{ \"vers"[..], &vec![b'x'; 1 << 20]] {
        fs::write(dir.path().join("world.json.new"), torn).unwrap();
        set_target(&host, "4096").unwrap();
        assert_eq!(read(&host_in(dir.path(), ""), super::TARGET).unwrap(), "4096");
    }
}

#[test]
fn a_kill_fault_kills_before_or_after_the_commit() {
    for (word, done) in [("kill-before-commit", false), ("kill-after-commit", true)] {
        let (dir, host) = host("");
        let status = child(dir.path(), word).wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{word}");
        assert_eq!(read(&host, COUNTER).is_some(), done, "{word}");
    }
}
