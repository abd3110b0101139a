//! Signals that would end the run, which are held off during a change; and messages about long waits.
//!
//! A signal that arrives meanwhile stays pending. It ends waits at once. It ends the process when the hold ends, and a
//! shell sees that the process was ended by a signal.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use xen::Interrupt;

use crate::report::Report;

/// The signals that ask a run to end. SIGQUIT is left as a way out.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// The signals by which a terminal stops a run: Ctrl-Z, and output in the background (`stty tostop`).
const STOPPING: [Signal; 2] = [Signal::SIGTSTP, Signal::SIGTTOU];

/// The time before the first message of a wait, and the time between two messages.
const SILENT: Duration = Duration::from_secs(2);
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// Calls of `waiting_for` further apart than this belong to different waits.
const SAME_WAIT: Duration = Duration::from_secs(1);

/// The run's signals, held off or not.
pub(crate) struct Signals<'r> {
    hold: Option<Hold>,
    report: &'r Report,
    wait: RefCell<Option<Wait>>,
}

impl<'r> Signals<'r> {
    /// Not held off: a signal ends the process at once.
    pub(crate) const fn free(report: &'r Report) -> Self {
        Self { hold: None, report, wait: RefCell::new(None) }
    }

    /// Held off until the return value is dropped.
    ///
    /// # Errors
    /// The kernel gives no signalfd.
    pub(crate) fn held(report: &'r Report) -> io::Result<Self> {
        Ok(Self { hold: Some(Hold::begin()?), ..Self::free(report) })
    }
}

impl Interrupt for Signals<'_> {
    fn pending(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.wait(Duration::ZERO))
    }

    fn sleep(&self, time: Duration) -> bool {
        if let Some(hold) = &self.hold {
            return hold.sleep(time);
        }
        thread::sleep(time);
        false
    }

    fn forget(&self) {
        if let Some(hold) = &self.hold {
            hold.forget();
        }
        // Whatever is waited for now is another wait.
        *self.wait.borrow_mut() = None;
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        let mut wait = self.wait.borrow_mut();
        let now = Instant::now();
        let same = wait.as_ref().is_some_and(|wait| now.duration_since(wait.last) < SAME_WAIT);
        let current = match &mut *wait {
            Some(current) if same => current,
            other => {
                tracing::debug!("waiting for {what}");
                other.insert(Wait { begun: now, last: now, shown: None })
            }
        };
        current.last = now;
        if now.duration_since(current.begun) < SILENT {
            return;
        }
        let due =
            current.shown.as_ref().is_none_or(|(at, _)| now.duration_since(*at) > BETWEEN_LINES);
        if due {
            let text = what.to_string();
            if current.shown.as_ref().is_none_or(|(_, shown)| *shown != text) {
                self.report.waiting_for(&text);
            }
            current.shown = Some((now, text));
        }
    }
}

/// A wait in progress.
struct Wait {
    begun: Instant,
    /// The last call.
    last: Instant,
    /// The time at which the last message was due.
    shown: Option<(Instant, String)>,
}

/// The thread's signal mask while signals are held off: those that end a run, and those that stop one inside a domain's
/// lock. It also has SIGXFSZ, so that a write above `ulimit -f` fails and is reported.
struct Hold {
    before: SigSet,
    /// Readable while a signal that will end the process is pending.
    ending: SignalFd,
    stopping: SigSet,
    /// Signals taken from `ending`, which end the process all the same.
    forgotten: RefCell<Vec<Signal>>,
}

impl Hold {
    fn begin() -> io::Result<Self> {
        let before = SigSet::thread_get_mask()?;
        let ignored = ignored();
        // A signal that was ignored (nohup) or blocked before does not end the run.
        let ends = |signal: &Signal| !ignored.contains(*signal) && !before.contains(*signal);
        let ending: SigSet = ENDING.into_iter().filter(ends).collect();
        let stopping: SigSet =
            STOPPING.into_iter().filter(|signal| !before.contains(*signal)).collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&ending, flags)?;
        ending
            .iter()
            .chain(&stopping)
            .chain([Signal::SIGXFSZ])
            .collect::<SigSet>()
            .thread_block()?;
        Ok(Self { before, ending: fd, stopping, forgotten: RefCell::default() })
    }

    fn forget(&self) {
        while let Ok(Some(info)) = self.ending.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().map(Signal::try_from);
            self.forgotten.borrow_mut().extend(signal.and_then(Result::ok));
        }
    }

    /// Sleeps for `time` or until a signal is pending, and returns whether one is. Ctrl-Z works meanwhile.
    fn sleep(&self, time: Duration) -> bool {
        let held = self.stopping.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
        let pending = self.wait(time);
        if let Err(error) = held.and_then(|mask| mask.thread_set_mask()) {
            tracing::error!(%error, "cannot restore the signal mask");
        }
        pending
    }

    fn wait(&self, time: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let left = time.saturating_sub(begun.elapsed());
            let timeout = Timespec::try_from(left).ok();
            let fd = PollFd::from_borrowed_fd(self.ending.as_fd(), PollFlags::IN);
            match poll(&mut [fd], timeout.as_ref()) {
                // The process was stopped and continued.
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot wait for signals");
                    return true;
                }
                Ok(ready) => return ready > 0,
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for signal in self.forgotten.take() {
            if let Err(error) = raise(signal) {
                tracing::error!(%error, "cannot raise {signal} again");
            }
        }
        if let Err(error) = self.before.thread_set_mask() {
            tracing::error!(%error, "cannot restore the signal mask");
        }
    }
}

/// The signals of [`ENDING`] that this process ignores. None if /proc does not say, so that all end the run.
fn ignored() -> SigSet {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    let mask = u64::from_str_radix(hex.trim(), 16).unwrap_or(0);
    let bit = |signal: Signal| {
        u32::try_from(signal as i32).ok().and_then(|at| 1_u64.checked_shl(at.checked_sub(1)?))
    };
    ENDING.into_iter().filter(|signal| bit(*signal).is_some_and(|bit| mask & bit != 0)).collect()
}

/// Notices that the process was stopped and continued, and that its terminal was resized.
pub(crate) struct Continued(SignalFd);

impl Continued {
    /// Starts noticing.
    ///
    /// # Errors
    /// The kernel gives no signalfd.
    pub(crate) fn watch() -> io::Result<Self> {
        // Blocking SIGCONT does not keep it from continuing the process.
        let signals: SigSet = [Signal::SIGCONT, Signal::SIGWINCH].into_iter().collect();
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Whether, since the last call, the process was continued, and whether the terminal was resized.
    pub(crate) fn take(&self) -> (bool, bool) {
        let (mut continued, mut resized) = (false, false);
        while let Ok(Some(info)) = self.0.read_signal() {
            continued |= i32::try_from(info.ssi_signo) == Ok(Signal::SIGCONT as i32);
            resized |= i32::try_from(info.ssi_signo) == Ok(Signal::SIGWINCH as i32);
        }
        (continued, resized)
    }
}
