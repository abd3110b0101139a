//! Output on a terminal: `watch` redrawn in place, what a wait is for, and Ctrl-Z.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGTSTP};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::sandbox::{Call, Sim, wait_until};

/// A pseudo-terminal and its output.
pub(crate) struct Terminal {
    pub(crate) other: OwnedFd,
    shown: Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    pub(crate) fn new(rows: u16, columns: u16) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&other, size).unwrap();
        let (send, shown) = channel();
        let mut terminal = File::from(terminal);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Linux reports the end of a pseudo-terminal as EIO.
            while let Ok(length @ 1..) = terminal.read(&mut bytes) {
                if send.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { other, shown, text: String::new() }
    }

    /// The output so far.
    pub(crate) fn text(&mut self) -> &str {
        let bytes: Vec<u8> = self.shown.try_iter().flatten().collect();
        self.text.push_str(&String::from_utf8_lossy(&bytes));
        &self.text
    }

    /// Waits until `what` is on the screen.
    pub(crate) fn wait_for(&mut self, what: &str) {
        wait_until(|| self.text().contains(what));
    }
}

/// The lines of the last frame that `watch` drew on a terminal of this size.
fn frame(sim: &Sim, looks: usize, sort: &str, (rows, columns): (u16, u16)) -> Vec<String> {
    let words = format!("watch --count {looks} --interval 50ms --sort {sort}");
    let mut terminal = Terminal::new(rows, columns);
    let call = sim.xmem(&words).env("TERM", "xterm").env("LANG", "C.UTF-8");
    let call = call.stdout(terminal.other.try_clone().unwrap());
    let output = call.start().wait_with_output();
    assert!(output.status.success(), "{output:?}");
    wait_until(|| terminal.text().matches("\u{1b}[J").count() == looks);
    let text = terminal.text().to_owned();
    let last = text.rsplit("A\r").next().unwrap();
    let lines = last.split("\u{1b}[K\r\n").filter(|line| *line != "\u{1b}[J");
    lines.map(str::to_owned).collect()
}

/// In the background, nothing is drawn over what the user types.
#[test]
fn nothing_is_drawn_from_the_background() {
    let sim = Sim::new();
    sim.rate(1024);
    for (words, shown) in
        [("set web 1100M --wait=1s", "web (7): "), ("watch --count 3 --interval 50ms", "")]
    {
        let mut terminal = Terminal::new(24, 80);
        let call = sim.xmem(words).moving().env("TERM", "xterm");
        let output = call.in_the_background_of(&terminal.other).start().wait_with_output();
        assert!(output.status.success(), "{output:?}");
        terminal.wait_for(shown);
        assert!(!terminal.text().contains("\u{1b}["), "{words}: {:?}", terminal.text());
    }
}

/// At each width, lines fit, the history's newest sample is at the right, and a long note ends in an ellipsis.
#[test]
fn watch_fits_the_terminal() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["limit_kib"] = 524_288.into());
    for columns in [30, 60, 80, 100, 200] {
        let lines = frame(&sim, 2, "domid", (24, columns));
        assert_eq!(lines.len(), 6, "{lines:?}");
        for line in &lines {
            assert!(line.chars().count() < columns.into(), "{columns}: {lines:?}");
        }
        if columns >= 80 {
            assert!(lines[0].contains("HISTORY") && lines[0].contains("NOTE"), "{lines:?}");
            let web = lines.iter().find(|line| line.starts_with("!  web ")).unwrap();
            let whole =
                "out of step: the limit of 512 MiB is below the 1025 MiB that its target needs";
            assert!(web.ends_with(whole) || web.ends_with('…'), "{web}");
            // One or two samples at the right end of the column.
            let at = lines[0].chars().collect::<String>().find("HISTORY").unwrap();
            let past: String =
                web.chars().skip(at).take_while(|c| !c.is_ascii_alphabetic()).collect();
            assert!(past.trim_end().ends_with('▁') && past.starts_with(' '), "{past:?} in {web}");
            assert!(lines[5].contains("; Ctrl-C exits") || columns == 80, "{lines:?}");
        }
        assert!(lines[5].starts_with("host (simulated): "), "{lines:?}");
    }
}

/// A name of 300 characters made the table 300 columns wide.
#[test]
fn a_terminal_shows_long_names_shortened_and_scripts_get_them_whole() {
    let sim = Sim::new();
    let long = "n".repeat(300);
    sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = long.clone().into());
    let mut terminal = Terminal::new(24, 80);
    let call = sim.xmem("list").env("TERM", "xterm").env("LANG", "C.UTF-8");
    let output = call.stdout(terminal.other.try_clone().unwrap()).start().wait_with_output();
    assert!(output.status.success(), "{output:?}");
    terminal.wait_for("all sizes in MiB\r\n");
    let cut = format!("\n{}…  ", "n".repeat(47));
    assert!(terminal.text().contains(&cut), "{:?}", terminal.text());
    for words in ["list", "list -H", "list --json"] {
        assert!(sim.xmem(words).run().stdout.contains(&long), "{words}");
    }
    let mut terminal = Terminal::new(24, 80);
    let call = sim.xmem("list -H").stdout(terminal.other.try_clone().unwrap());
    assert!(call.start().wait_with_output().status.success());
    terminal.wait_for(&format!("{long}\t7\t"));
}

/// The host's line stays, and the domains that do not fit are counted.
#[test]
fn watch_counts_the_domains_that_do_not_fit() {
    let sim = Sim::with_states();
    let lines = frame(&sim, 1, "current", (8, 120));
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(
        lines[5].starts_with('(') && lines[5].contains(" more; enlarge the terminal"),
        "{lines:?}"
    );
    assert!(lines[6].starts_with("host (simulated): "), "{lines:?}");
}

/// With TERM=dumb or none.
#[test]
fn watch_moves_no_cursor_on_a_dumb_terminal() {
    let sim = Sim::new();
    for term in ["dumb", ""] {
        for words in ["watch -c 2 --interval 50ms", "list"] {
            let mut terminal = Terminal::new(24, 80);
            let call = sim.xmem(words).env("TERM", term);
            let output =
                call.stdout(terminal.other.try_clone().unwrap()).start().wait_with_output();
            assert!(output.status.success(), "{output:?}");
            terminal.wait_for("all sizes in MiB\r\n");
            assert!(!terminal.text().contains('\u{1b}'), "{:?}", terminal.text());
        }
    }
}

/// The shell's output in between stays on the screen.
#[test]
fn a_watch_that_was_stopped_continues_below() {
    let sim = Sim::new();
    let mut terminal = Terminal::new(24, 80);
    let call = sim.xmem("watch --interval 50ms").env("TERM", "xterm");
    let child = call.stdout(terminal.other.try_clone().unwrap()).start();
    let stat = format!("/proc/{}/stat", child.id());
    let state = || std::fs::read_to_string(&stat).unwrap();
    terminal.wait_for("\u{1b}[6A");
    child.send(SIGTSTP);
    wait_until(|| state().contains(" (xmem) T "));
    // Its last output has arrived.
    thread::sleep(Duration::from_millis(100));
    let before = terminal.text().len();
    child.send(SIGCONT);
    wait_until(|| terminal.text().len() > before + 1000);
    let after = terminal.text()[before..].to_owned();
    // The first frame after SIGCONT does not move the cursor up.
    let (frame, move_up) = (after.find("NAME "), after.find("\u{1b}[6A"));
    assert!(frame.is_some() && (move_up.is_none() || frame < move_up), "{after:?}");
    child.send(SIGINT);
    let output = child.wait_with_output();
    assert_eq!(output.status.code(), None, "{output:?}");
}

/// Even if nothing changes that it would write.
#[test]
fn watch_ends_when_its_terminal_closes() {
    let sim = Sim::new();
    let mut child = sim.xmem("watch --json --interval 1h").start();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 100];
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let begun = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// A run that waits for the lock, with stderr on a terminal.
fn waiting(sim: &Sim, call: Call<'_>) -> (File, crate::sandbox::Running, Terminal) {
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    let terminal = Terminal::new(24, 80);
    let child = call.stderr(terminal.other.try_clone().unwrap()).start();
    (lock, child, terminal)
}

/// A log or a script gets no such line.
#[test]
fn a_wait_of_two_seconds_is_explained_on_a_terminal() {
    let sim = Sim::new();
    let (lock, child, mut terminal) = waiting(&sim, sim.xmem("set web 512M"));
    let line =
        format!("xmem: waiting for the domain's lock, held by process {} (", std::process::id());
    terminal.wait_for(&line);
    lock.unlock().unwrap();
    std::fs::remove_file(sim.lock()).unwrap();
    assert!(child.wait_with_output().status.success());
    assert_eq!(terminal.text().matches("waiting for").count(), 1, "{:?}", terminal.text());
    // A script sees nothing until it fails.
    let ran = sim.xmem("set web 1G --lock-timeout 3s").fault("lock-busy").run();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert!(!ran.stderr.contains("xmem: waiting for"), "{ran:?}");
}

/// No lock is held while it waits, so Ctrl-Z stops it at once.
#[test]
fn a_wait_for_the_lock_can_be_stopped() {
    let sim = Sim::new();
    let (lock, child, mut terminal) = waiting(&sim, sim.xmem("set web 512M"));
    let stat = format!("/proc/{}/stat", child.id());
    let state = || std::fs::read_to_string(&stat).unwrap();
    terminal.wait_for("waiting for");
    child.send(SIGTSTP);
    wait_until(|| state().contains(" (xmem) T "));
    child.send(SIGCONT);
    wait_until(|| !state().contains(" (xmem) T "));
    child.send(SIGINT);
    let output = child.wait_with_output();
    assert_eq!(output.status.code(), None, "{output:?}");
    assert_eq!(sim.numbers(7).0, 1_048_576);
    lock.unlock().unwrap();
}
