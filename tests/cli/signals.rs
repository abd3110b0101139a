//! Signals: before the change they end the run; during it they are held off.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGXFSZ};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::sandbox::{Call, Ran, Running, Sim, wait_until};

/// The result of a run, of whose stderr `read` was read already.
fn end(sim: &Sim, child: Running, read: &str) -> Ran {
    let mut output = child.wait_with_output();
    output.stderr.splice(..0, read.bytes());
    Ran::new(output, Some(sim.path()))
}

/// Holds `web`'s lock, and starts a run that waits for it.
fn waiting(sim: &Sim, call: Call<'_>) -> (File, Running, String) {
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    let mut child = call.start();
    let mut read = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !read.contains("waiting for the domain's lock") {
        assert_ne!(stderr.read_line(&mut read).unwrap(), 0, "{read}");
    }
    assert_eq!(stderr.buffer(), b"");
    child.stderr = Some(stderr.into_inner());
    (lock, child, read)
}

#[test]
fn a_signal_ends_the_wait_for_the_lock() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let before = sim.world();
        let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M"));
        assert!(read.contains(&format!(" held by process {} (", std::process::id())), "{read}");
        child.send(signal);
        let ran = end(&sim, child, &read);
        ran.dies_by(signal);
        assert!(
            ran.stderr.ends_with("xmem: web (7): interrupted; nothing changed (simulated)\n"),
            "{ran:?}"
        );
        assert_eq!(sim.world(), before);
        // The lock remains its holder's.
        assert_eq!(sim.state().len(), 1);
        lock.unlock().unwrap();
    }
}

/// As under nohup.
#[test]
fn an_ignored_signal_does_not_end_the_run() {
    let sim = Sim::new();
    let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M").ignoring_sighup());
    child.send(SIGHUP);
    fs::remove_file(sim.lock()).unwrap();
    // Closing it is not enough while another test's child is between fork and exec.
    lock.unlock().unwrap();
    let ran = end(&sim, child, &read);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    assert_eq!(sim.state(), [""; 0]);
}

/// A run that blocks right before the log line `at`: stderr is a pipe with room for the lines before it only.
/// Returns the child and the pipe's other end.
fn stopped(sim: &Sim, words: &str, at: &str) -> (Running, io::PipeReader) {
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
fn a_signal_during_the_change_takes_effect_after_the_result() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let (child, mut stderr) = stopped(&sim, "-v set web 512M", "written in the transaction");
        // The record is written, the limit not yet set.
        wait_until(|| sim.intent().exists());
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
        child.send(signal);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        let ran = end(&sim, child, &rest);
        ran.dies_by(signal);
        assert_eq!(
            ran.stdout,
            "web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)\n"
        );
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
        assert_eq!(sim.state(), [""; 0]);
    }
}

/// The last step before the change begins.
#[test]
fn a_signal_before_the_change_ends_the_run() {
    let sim = Sim::new();
    let before = sim.world();
    let (child, mut stderr) = stopped(&sim, "-v set web 512M", "planned");
    // It has the lock but no plan yet.
    wait_until(|| sim.lock().exists());
    child.send(SIGTERM);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let ran = end(&sim, child, &rest);
    ran.dies_by(SIGTERM);
    assert!(
        ran.stderr.ends_with("xmem: web (7): interrupted; nothing changed (simulated)\n"),
        "{ran:?}"
    );
    assert_eq!((sim.world(), ran.stdout), (before, String::new()));
    assert_eq!(sim.state(), [""; 0]);
}

/// A run that has done nothing yet: it waits to open the sim.
fn before_the_first_step(sim: &Sim) -> (File, Running) {
    let path = fs::canonicalize(sim.path().join("world.lock")).unwrap();
    let turn = File::open(&path).unwrap();
    turn.lock().unwrap();
    let child = sim.xmem("set web 512M").start();
    let files = format!("/proc/{}/fd", child.id());
    let is_open = |path: &Path| {
        let mut files = fs::read_dir(&files).unwrap().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|file| file == path))
    };
    wait_until(|| is_open(&path));
    (turn, child)
}

#[test]
fn a_signal_before_the_first_step_ends_the_run() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let before = sim.world();
        let (turn, child) = before_the_first_step(&sim);
        child.send(signal);
        turn.unlock().unwrap();
        let ran = end(&sim, child, "");
        ran.dies_by(signal);
        assert_eq!((sim.world(), &*ran.stdout), (before, ""));
        assert!(ran.stderr.contains("interrupted; nothing changed"), "{ran:?}");
        assert_eq!(sim.state(), [""; 0]);
    }
}

/// A run that blocks on its result: stdout is a full pipe. Returns the child and the pipe's other end.
fn blocked_on_stdout(sim: &Sim, words: &str) -> (Running, io::PipeReader) {
    let (reader, mut writer) = io::pipe().unwrap();
    let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    writer.write_all(&vec![b' '; size]).unwrap();
    let child = sim.xmem(words).stdout(writer).start();
    (child, reader)
}

#[test]
fn a_signal_while_the_result_is_written_takes_effect_after_it() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let (child, mut stdout) = blocked_on_stdout(&sim, "set web 512M");
        // The lock is released before the result is written.
        wait_until(|| sim.numbers(7).0 == 524_288 && sim.state().is_empty());
        child.send(signal);
        // Long enough to die of the signal, if it were not held off.
        thread::sleep(Duration::from_millis(200));
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ran = end(&sim, child, "");
        ran.dies_by(signal);
        assert_eq!(
            rest.trim_start(),
            "web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)\n"
        );
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    }
}

/// In each phase of a run.
#[test]
fn sigpipe_does_not_stop_a_change() {
    let done = (524_288, 2_097_152, 525_312);
    let ends_well = |sim: &Sim, child: Running, read: &str| {
        let ran = end(sim, child, read);
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert_eq!((sim.numbers(7), sim.state()), (done, Vec::new()));
    };

    let sim = Sim::new();
    let (turn, child) = before_the_first_step(&sim);
    child.send(SIGPIPE);
    turn.unlock().unwrap();
    ends_well(&sim, child, "");

    let sim = Sim::new();
    let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M"));
    child.send(SIGPIPE);
    fs::remove_file(sim.lock()).unwrap();
    lock.unlock().unwrap();
    ends_well(&sim, child, &read);

    let sim = Sim::new();
    let (child, mut stderr) = stopped(&sim, "-v set web 512M", "written in the transaction");
    wait_until(|| sim.intent().exists());
    child.send(SIGPIPE);
    io::copy(&mut stderr, &mut io::sink()).unwrap();
    ends_well(&sim, child, "");

    let sim = Sim::new();
    let (child, mut stdout) = blocked_on_stdout(&sim, "set web 512M");
    wait_until(|| sim.numbers(7) == done && sim.state().is_empty());
    child.send(SIGPIPE);
    io::copy(&mut stdout, &mut io::sink()).unwrap();
    ends_well(&sim, child, "");

    let sim = Sim::new();
    let child = sim.xmem("set web 512M --wait=1s").start();
    wait_until(|| sim.numbers(7) == done && sim.state().is_empty());
    child.send(SIGPIPE);
    let ran = end(&sim, child, "");
    assert_eq!((ran.status.code(), sim.numbers(7)), (Some(8), done), "{ran:?}");
}

/// `ulimit -f`, which sudo can pass on, below the size of the sim's world. A change that fails is rolled
/// back and reported before the run dies of SIGXFSZ.
#[test]
fn a_limit_on_file_sizes_rolls_the_change_back() {
    let sim = Sim::new();
    let before = sim.world();
    let ran = sim.xmem("set web 512M").with_files_of(512, false).run();
    ran.dies_by(SIGXFSZ);
    assert!(ran.stderr.contains("File too large"), "{ran:?}");
    assert!(ran.stderr.contains("nothing changed"), "{ran:?}");
    assert_eq!(sim.world(), before);
}

/// 128 plus the signal's number, as for any program that a signal kills.
#[test]
fn a_shell_sees_the_signal_in_the_exit_code() {
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, 129)] {
        let sim = Sim::new();
        let (lock, shell, read) = waiting(&sim, sim.xmem("-v set web 512M").by_a_shell());
        let children = format!("/proc/{0}/task/{0}/children", shell.id());
        let child = fs::read_to_string(children).unwrap();
        kill(Pid::from_raw(child.trim().parse().unwrap()), signal).unwrap();
        let ran = end(&sim, shell, &read);
        assert!(ran.stderr.ends_with(&format!("\na shell sees {code}\n")), "{ran:?}");
        lock.unlock().unwrap();
    }
}

/// The interrupted run leaves the queue of waiters intact.
#[test]
fn an_interrupted_run_does_not_block_the_next() {
    let sim = Sim::new();
    let (lock, child, read) = waiting(&sim, sim.xmem("-v set web 512M"));
    child.send(SIGINT);
    end(&sim, child, &read).dies_by(SIGINT);
    fs::remove_file(sim.lock()).unwrap();
    // Closing it is not enough while another test's child is between fork and exec.
    lock.unlock().unwrap();
    assert_eq!(sim.xmem("set web 512M").run().status.code(), Some(0));
}
