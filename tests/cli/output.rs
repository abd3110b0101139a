//! A stdout that is closed, full or not read: it stops no change, and the exit code is that of the change.
//! A command that only reads fails if it cannot write its result.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{io, iter, thread};

use crate::sandbox::Sim;

#[test]
fn a_full_disk_does_not_fail_a_change() {
    let sim = Sim::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for words in ["set web 512M", "set web 256M --json"] {
        let ran = sim.xmem(words).stdout(full()).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert_eq!(ran.stderr, "xmem: cannot write the result: No space left on device\n");
    }
    assert_eq!(sim.numbers(7), (262_144, 2_097_152, 263_168));
}

/// A script that saves the output would take an empty file for an empty host.
#[test]
fn a_full_disk_fails_a_command_that_only_reads() {
    let sim = Sim::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for words in [
        "list",
        "list --json",
        "list --format openmetrics",
        "check",
        "watch -c 1",
        "set -n web 512M",
        "max -n web 3G --json",
    ] {
        let ran = sim.xmem(words).stdout(full()).run();
        assert_eq!(ran.status.code(), Some(1), "{words}: {ran:?}");
        assert_eq!(ran.stderr, "xmem: cannot write the result: No space left on device\n");
    }
    // An earlier error keeps its exit code.
    assert_eq!(sim.xmem("list nosuch").stdout(full()).run().status.code(), Some(3));
}

#[test]
fn a_closed_pipe_does_not_stop_a_change() {
    let sim = Sim::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let ran = sim.xmem("set web 512M").stdout(writer).run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""));
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
}

/// Every command, with its exit code on a sim whose guests never balloon.
const COMMANDS: [(&str, i32); 20] = [
    ("list", 0),
    ("list --json", 0),
    ("list --format openmetrics", 0),
    ("watch", 0),
    ("watch --json", 0),
    ("check", 0),
    ("check --json", 0),
    ("set web 512M", 0),
    ("set web 512M --json", 0),
    ("max web 3G", 0),
    ("set web 512M --wait=0", 8),
    ("set web 512M --wait=0 --json", 8),
    ("set -n web 512M", 0),
    ("set --json web 1M", 4),
    ("set --json nosuch 1G", 3),
    ("set --json web 1.5G", 2),
    ("--help", 0),
    ("help set", 0),
    ("--version", 0),
    ("__complete-domains", 0),
];

/// `xmem list | head -1` and `xmem set web 1G | true` keep the command's exit code and print no error.
#[test]
fn every_command_survives_a_closed_pipe() {
    let gone = || {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        writer
    };
    for (words, code) in COMMANDS {
        let sim = Sim::new();
        let ran = sim.xmem(words).stdout(gone()).run();
        assert_eq!(ran.status.code(), Some(code), "{words}: {ran:?}");
        assert!(code != 0 || ran.stderr.is_empty(), "{words}: {ran:?}");
    }
    let sim = Sim::new();
    let plan = sim.path().join("plan");
    fs::write(&plan, "web 512M\ndb 1G\n").unwrap();
    let ran = sim.xmem("apply").arg(&plan).stdout(gone()).run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""));
    assert_eq!((sim.numbers(7).0, sim.numbers(8).0), (524_288, 1_048_576));
}

/// /dev/null is opened first, in place of stdout.
#[test]
fn every_command_runs_without_stdout() {
    // Without stdout, `watch` would not end by itself.
    for (words, code) in COMMANDS.into_iter().filter(|(words, _)| !words.starts_with("watch")) {
        let sim = Sim::new();
        let ran = sim.xmem(words).with_closed_stdout().run();
        assert_eq!(ran.status.code(), Some(code), "{words}: {ran:?}");
        assert!(code != 0 || ran.stderr.is_empty(), "{words}: {ran:?}");
    }
}

/// With all three closed, files that xmem opens must not get their descriptors.
#[test]
fn a_change_runs_without_standard_streams() {
    let sim = Sim::new();
    let held = File::create(sim.lock()).unwrap();
    held.lock().unwrap();
    let script =
        format!("exec \"$0\" --host sim:{} -v set web 512M >&- 2>&- <&-", sim.path().display());
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_xmem")])
        .env_clear()
        .env("XMEM_SIM_FAULT", "guest-ignores")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // The lock and the world keep their contents while it waits.
    let file = |number| fs::read_link(format!("/proc/{}/fd/{number}", child.id()));
    iter::repeat_with(|| thread::sleep(Duration::from_millis(1)))
        .take(20_000)
        .find(|()| (0..9).any(|number| file(number).is_ok_and(|file| file == sim.lock())))
        .unwrap();
    for number in 0..3 {
        assert_eq!(file(number).unwrap(), Path::new("/dev/null"), "{number}");
    }
    held.unlock().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    assert_eq!(sim.state(), [""; 0]);
}
