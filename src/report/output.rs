//! Standard output and standard error.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal as _, Write as _};

use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xen::escape::Escaped;

/// The two streams, and the bar that stands below what is written to them.
#[derive(Debug, Default)]
pub(super) struct Output {
    bar: RefCell<Option<ProgressBar>>,
    lost: Cell<bool>,
}

impl Output {
    /// Writes to standard output. `false` if that failed: a change goes on all the same.
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
                    self.complain(&format!("xmem: cannot write the result: {error}"));
                }
                false
            }
        }
    }

    /// Writes a line to standard error. Escaped, because messages quote names, files and the environment.
    pub(super) fn complain(&self, line: &str) {
        // In one piece: stderr is not buffered, and others may write to it as well.
        let line = format!("{}\n", Escaped(line));
        // If stderr fails too, only the exit code remains.
        let _ignored = self.beside_bar(|| io::stderr().lock().write_all(line.as_bytes()));
    }

    /// Whether a write failed for another reason than that the reader went away.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// From now on `bar` stands below what is written, until `None` takes its place.
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

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(super) fn is_error_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard output is a terminal that can move its cursor.
pub(super) fn is_smart_terminal() -> bool {
    is_terminal() && set("TERM").is_some_and(|term| term != "dumb")
}

/// Whether standard output shows colours.
pub(super) fn is_coloured() -> bool {
    is_smart_terminal() && set("NO_COLOR").is_none()
}

/// Whether the terminal is said to read UTF-8, by the first of the variables that locale(7) names.
pub(super) fn is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Whether the reader of standard output has gone away.
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
