//! Signals: before anything is changed they end the run; from then on they wait until it is done.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::Child;
use std::time::Duration;
use std::{iter, thread};

use fs2::FileExt as _;
use nix::sys::signal::Signal::{self, SIGHUP, SIGINT, SIGTERM};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::sandbox::{Call, Ran, Sim};

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// The rest of a run whose stderr was `read` so far.
fn end(sim: &Sim, child: Child, read: &str) -> Ran {
    let mut output = child.wait_with_output().unwrap();
    output.stderr.splice(..0, read.bytes());
    Ran::new(output, Some(sim.path()))
}

/// Holds `web`'s lock, and starts a run that waits for it.
fn waiting(sim: &Sim, call: Call<'_>) -> (File, Child, String) {
    let lock = File::create(sim.lock()).unwrap();
    lock.lock_exclusive().unwrap();
    let mut child = call.start();
    let mut read = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !read.contains("waiting for the lock") {
        assert_ne!(stderr.read_line(&mut read).unwrap(), 0, "{read}");
    }
    assert_eq!(stderr.buffer(), b"");
    child.stderr = Some(stderr.into_inner());
    (lock, child, read)
}

#[test]
fn while_it_waits_for_the_lock_it_ends_with_nothing_changed() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let before = sim.world();
        let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M"));
        assert!(read.contains(&format!(": process {} (", std::process::id())), "{read}");
        send(&child, signal);
        let ran = end(&sim, child, &read);
        ran.dies_by(signal);
        assert!(
            ran.stderr.ends_with(
                "xmem: web (7): interrupted while waiting for the domain's lock; nothing is changed (simulated)\n"
            ),
            "{ran:?}"
        );
        assert_eq!(sim.world(), before);
        // The lock is still its holder's.
        assert_eq!(sim.state().len(), 1);
        lock.unlock().unwrap();
    }
}

/// `nohup xmem ...`
#[test]
fn an_ignored_signal_ends_nothing() {
    let sim = Sim::new();
    let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M").ignoring_sighup());
    send(&child, SIGHUP);
    fs::remove_file(sim.lock()).unwrap();
    // Closing it is not enough while another test's child is between fork and exec.
    lock.unlock().unwrap();
    let ran = end(&sim, child, &read);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    assert_eq!(sim.state(), [""; 0]);
}

/// A run of `words` that stands still right before the log line `at`, since stderr is a pipe that has
/// just so much room as the lines before it need. Given: the child, and the pipe's other end.
fn stopped(sim: &Sim, words: &str, at: &str) -> (Child, io::PipeReader) {
    let rehearsal = Sim::new();
    let ran = rehearsal.xmem(words).run();
    let room = ran.stderr.find(at).and_then(|at| ran.stderr[..at].rfind('\n')).unwrap() + 1;

    let (reader, mut writer) = io::pipe().unwrap();
    let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    writer.write_all(&vec![b' '; size - room]).unwrap();
    let child = sim.xmem(words).stderr(writer).start();
    (child, reader)
}

#[test]
fn in_the_middle_of_a_change_it_waits_until_the_change_is_done_and_told() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let (child, mut stderr) = stopped(&sim, "-v set web 512M", "written in the transaction");
        // The intent is written and the limit is not.
        iter::repeat_with(|| thread::sleep(Duration::from_millis(1)))
            .take(20_000)
            .find(|()| sim.intent().exists())
            .unwrap();
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
        send(&child, signal);
        let mut told = String::new();
        stderr.read_to_string(&mut told).unwrap();
        let ran = end(&sim, child, &told);
        ran.dies_by(signal);
        assert_eq!(
            ran.stdout,
            "web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)\n"
        );
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
        assert_eq!(sim.state(), [""; 0]);
    }
}

/// The last moment at which a signal ends the run with nothing changed.
#[test]
fn before_the_change_begins_it_ends() {
    let sim = Sim::new();
    let before = sim.world();
    let (child, mut stderr) = stopped(&sim, "-v set web 512M", "planned");
    // It has the lock, and has not planned yet.
    iter::repeat_with(|| thread::sleep(Duration::from_millis(1)))
        .take(20_000)
        .find(|()| sim.lock().exists())
        .unwrap();
    send(&child, SIGTERM);
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    let ran = end(&sim, child, &told);
    ran.dies_by(SIGTERM);
    assert!(
        ran.stderr.ends_with("xmem: web (7): interrupted; nothing is changed (simulated)\n"),
        "{ran:?}"
    );
    assert_eq!((sim.world(), ran.stdout), (before, String::new()));
    assert_eq!(sim.state(), [""; 0]);
}

/// What the run before was asked to wait for is not lost on the one after: a signal held off ends
/// nothing but its own run.
#[test]
fn an_interrupted_run_leaves_room_for_the_next() {
    let sim = Sim::new();
    let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M"));
    send(&child, SIGINT);
    end(&sim, child, &read).dies_by(SIGINT);
    fs::remove_file(sim.lock()).unwrap();
    // Closing it is not enough while another test's child is between fork and exec.
    lock.unlock().unwrap();
    assert_eq!(sim.xmem("set web 512M").run().status.code(), Some(0));
}
