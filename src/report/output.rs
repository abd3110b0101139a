//! Standard output and standard error.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::time::SystemTime;

use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios;
use serde_json::json;
use xen::escape::Escaped;

use super::text::shortened;

/// The two streams, and the progress bar below them.
#[derive(Debug)]
pub(super) struct Output {
    /// Whether standard error consists of JSON objects (`--log-format json`).
    json_log: bool,
    bar: RefCell<Option<ProgressBar>>,
    lost: Cell<bool>,
}

impl Output {
    pub(super) const fn new(json_log: bool) -> Self {
        Self { json_log, bar: RefCell::new(None), lost: Cell::new(false) }
    }

    /// Writes to standard output. `false` if that failed, which does not stop a change.
    pub(super) fn write(&self, text: &str) -> bool {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        match self.beside_bar(write) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
            Err(error) => {
                if !self.lost.replace(true) {
                    let error = shortened(&error.to_string());
                    self.complain(&format!("xmem: cannot write the result: {error}"));
                }
                false
            }
        }
    }

    /// Writes a line to standard error. Escaped, because messages quote names, files and the environment.
    pub(super) fn complain(&self, line: &str) {
        // In one write, since stderr is unbuffered and others may write to it too.
        let line = if self.json_log { logged(line) } else { Escaped(line).to_string() } + "\n";
        // If stderr fails too, only the exit code remains.
        let _ignored = self.beside_bar(|| io::stderr().lock().write_all(line.as_bytes()));
    }

    /// Whether a write failed for a reason other than a closed pipe.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Keeps `bar` below all further output; `None` removes it.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        *self.bar.borrow_mut() = bar;
    }

    fn beside_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// `line` as an object of the log.
fn logged(line: &str) -> String {
    let is_error = line.starts_with("xmem: ") || line.starts_with("hint: ");
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let level = if is_error { "ERROR" } else { "INFO" };
    let message = Escaped(line).to_string();
    json!({ "timestamp": time, "level": level, "message": message, "target": "xmem" }).to_string()
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(super) fn is_error_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether the terminal's user sees this program, and not a shell that put it into the background.
pub(super) fn is_in_foreground(terminal: impl AsFd) -> bool {
    termios::tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

/// Whether standard output is a terminal that can move its cursor.
pub(super) fn is_smart_terminal() -> bool {
    is_terminal() && set("TERM").is_some_and(|term| term != "dumb")
}

/// Whether standard output shows colours.
pub(super) fn is_coloured() -> bool {
    is_smart_terminal() && set("NO_COLOR").is_none()
}

/// Whether the locale is UTF-8, by the first of the variables in locale(7) that is set.
pub(super) fn is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The mark of a text that was shortened on a terminal.
pub(super) fn cut_mark() -> char {
    if is_utf8() { '…' } else { '>' }
}

/// Whether the reader of standard output has gone.
pub(super) fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = poll(&mut fds, Some(&now)).is_ok();
    let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    ready && fds.iter().any(|fd| fd.revents().intersects(gone))
}

/// An environment variable; an empty one counts as unset.
fn set(name: &str) -> Option<String> {
    crate::values::variable(name)
}
