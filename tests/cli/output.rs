//! A result that nobody reads, or that cannot be written, changes neither what is done nor the exit
//! code, which says what was done. Where nothing is done, telling is all there is to fail at.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{io, iter, thread};

use crate::sandbox::Sim;

#[test]
fn a_full_disk() {
    let sim = Sim::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for (words, what) in [("set web 512M", "web (7): "), ("set web 256M --json", "{\"schema\":1")] {
        let ran = sim.xmem(words).stdout(full()).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        let told = "xmem: the result could not be written: No space left on device (os error 28): ";
        // The result goes where it can be read.
        assert!(ran.stderr.starts_with(&format!("{told}{what}")), "{ran:?}");
    }
    assert_eq!(sim.numbers(7), (262_144, 2_097_152, 263_168));
}

/// A script that keeps the output would take an empty file for an empty host.
#[test]
fn a_full_disk_for_what_only_looks() {
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
        assert!(ran.stderr.contains("the result could not be written"), "{ran:?}");
    }
    // What went wrong before is told first.
    assert_eq!(sim.xmem("list nosuch").stdout(full()).run().status.code(), Some(3));
}

#[test]
fn a_reader_that_has_gone() {
    let sim = Sim::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let ran = sim.xmem("set web 512M").stdout(writer).run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""));
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
}

/// All of them, and their exit codes on a sim where no guest moves.
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

/// `xmem list | head -1`, `xmem set web 1G | true`: the exit code is that of what was done, in every command,
/// and nothing is said of it.
#[test]
fn every_command_outlives_its_reader() {
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

/// /dev/null is opened in its place before anything else.
#[test]
fn every_command_does_without_stdout() {
    // Nothing tells `watch` to end.
    for (words, code) in COMMANDS.into_iter().filter(|(words, _)| !words.starts_with("watch")) {
        let sim = Sim::new();
        let ran = sim.xmem(words).with_closed_stdout().run();
        assert_eq!(ran.status.code(), Some(code), "{words}: {ran:?}");
        assert!(code != 0 || ran.stderr.is_empty(), "{words}: {ran:?}");
    }
}

/// All three closed: the files that are opened next must not take their places.
#[test]
fn no_output_at_all() {
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
    // While it waits for the lock, its files stay as they are.
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
