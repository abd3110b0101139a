//! Signals that would end the run, held off while a change is half made.
//!
//! Owns the thread's signal mask. Never handles a signal: one that came meanwhile stays pending, and
//! ends the process by itself when the hold ends, so that a shell sees a true death by signal.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::process;

/// Those that ask a run to end. SIGQUIT is left as a user's way out of a hold.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// Those by which a terminal stops a run: Ctrl-Z, and a word said in the background (`stty tostop`).
const STOPPING: [Signal; 2] = [Signal::SIGTSTP, Signal::SIGTTOU];

/// Holds off SIGINT, SIGTERM and SIGHUP; SIGTSTP and SIGTTOU, since a run stopped inside the lock would
/// lock everybody out; and SIGXFSZ, so that a write above `ulimit -f` fails first, and is told.
///
/// Belongs to the thread that made it. Threads started during a hold inherit it for good.
#[derive(Debug)]
pub struct HoldOff {
    before: SigSet,
    this_thread_only: PhantomData<*const ()>,
}

impl HoldOff {
    /// Starts holding.
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin() -> io::Result<Self> {
        let held: SigSet = ENDING.into_iter().chain(STOPPING).chain([Signal::SIGXFSZ]).collect();
        let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, this_thread_only: PhantomData })
    }

    /// Whether a signal waits that will end the process once the hold ends.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pending(&self) -> io::Result<bool> {
        let pending = process::pending_signals()?;
        Ok(ENDING.iter().any(|signal| pending.contains(*signal)) && !all_ignored())
    }

    /// Rests, no longer than until a signal comes that will end the process. `true` if one waits.
    ///
    /// # Errors
    /// The kernel's, from poll, or when it gives no signalfd (out of file descriptors).
    pub fn rest(&self, time: Duration) -> io::Result<bool> {
        let (begun, fd) = (Instant::now(), self.fd()?);
        loop {
            let left = time.saturating_sub(begun.elapsed());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref()) {
                // It was stopped, and goes on.
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(0) => return Ok(false),
                Ok(_) if self.pending()? => return Ok(true),
                // One that is ignored makes the descriptor readable for good.
                Ok(_) => {
                    thread::sleep(left);
                    return self.pending();
                }
            }
        }
    }

    /// Lets the process be stopped by its terminal until the return value goes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn let_stop(&self) -> io::Result<Stoppable<'_>> {
        let free = STOPPING.into_iter().filter(|signal| !self.before.contains(*signal));
        let held = free.collect::<SigSet>().thread_swap_mask(SigmaskHow::SIG_UNBLOCK)?;
        Ok(Stoppable { held, hold: PhantomData })
    }

    /// Readable while a signal waits (also one that is ignored: ask [`pending`](Self::pending)). It goes with the
    /// process: most runs wait for nothing, and need none.
    ///
    /// # Errors
    /// The kernel's, when it gives no signalfd (out of file descriptors).
    #[expect(clippy::unused_self, reason = "in a hold alone does a signal wait")]
    pub(crate) fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        static WAITING: OnceLock<SignalFd> = OnceLock::new();
        if let Some(waiting) = WAITING.get() {
            return Ok(waiting.as_fd());
        }
        let ending: SigSet = ENDING.into_iter().collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let waiting = SignalFd::with_flags(&ending, flags)?;
        Ok(WAITING.get_or_init(|| waiting).as_fd())
    }
}

/// A time of a hold in which Ctrl-Z works.
#[derive(Debug)]
pub struct Stoppable<'a> {
    held: SigSet,
    hold: PhantomData<&'a HoldOff>,
}

impl Drop for Stoppable<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.held.thread_set_mask() {
            tracing::error!(%error, "the signal mask could not be put back");
        }
    }
}

impl Drop for HoldOff {
    fn drop(&mut self) {
        if let Err(error) = self.before.thread_set_mask() {
            tracing::error!(%error, "the signal mask could not be put back");
        }
    }
}

/// The signals of a run: free, until the run says that they have to wait. Free again when it goes.
#[derive(Debug, Default)]
pub struct Signals(Option<HoldOff>);

impl Signals {
    /// Holds them off from now on.
    ///
    /// # Errors
    /// As [`HoldOff::begin`].
    pub fn hold_off(&mut self) -> io::Result<&HoldOff> {
        let hold = match self.0.take() {
            Some(hold) => hold,
            None => HoldOff::begin()?,
        };
        Ok(self.0.insert(hold))
    }
}

/// Whether every signal of [`ENDING`] that waits is one this process ignores (`nohup xmem ...`): the
/// kernel keeps it pending while it is blocked, and drops it afterwards.
fn all_ignored() -> bool {
    // An unreadable /proc leaves the cautious answer: it will end the run.
    let Ok(status) = fs::read_to_string("/proc/thread-self/status") else { return false };
    let mask = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0)
    };
    let waiting = mask("ShdPnd:") | mask("SigPnd:");
    let ending = ENDING
        .iter()
        .filter_map(|signal| u32::try_from(*signal as i32).ok())
        .filter_map(|number| 1_u64.checked_shl(number.saturating_sub(1)))
        .fold(0, |all, bit| all | bit);
    waiting & ending & !mask("SigIgn:") == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_as_long_as_it_is_said_and_ends_with_a_signal() {
        let hold = HoldOff::begin().unwrap();
        let begun = Instant::now();
        assert!(!hold.rest(Duration::from_millis(50)).unwrap());
        assert!(begun.elapsed() >= Duration::from_millis(50));
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert!(hold.rest(Duration::from_secs(3600)).unwrap());
        take_back(&hold);
        assert!(!hold.rest(Duration::ZERO).unwrap());
    }

    #[test]
    fn a_hold_can_be_stopped_only_when_it_is_let() {
        let stops = || {
            let mask = SigSet::thread_get_mask().unwrap();
            let stopping = STOPPING.map(|signal| !mask.contains(signal));
            assert_eq!(stopping[0], stopping[1]);
            stopping[0]
        };
        let hold = HoldOff::begin().unwrap();
        assert!(!stops());
        let stoppable = hold.let_stop().unwrap();
        assert!(stops());
        assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
        drop(stoppable);
        assert!(!stops());
        drop(hold);
        assert!(stops());
    }

    /// Takes a pending signal back, or it would end the test run.
    fn take_back(hold: &HoldOff) {
        let mut fd = hold.fd().unwrap().try_clone_to_owned().map(fs::File::from).unwrap();
        let mut taken = [0; 128];
        assert_eq!(io::Read::read(&mut fd, &mut taken).unwrap(), 128);
    }

    #[test]
    fn a_held_signal_waits_and_is_seen() {
        let hold = HoldOff::begin().unwrap();
        assert!(!hold.pending().unwrap());
        // To this thread alone: the other tests' threads hold nothing off.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert!(hold.pending().unwrap());
        take_back(&hold);
        assert!(!hold.pending().unwrap());
    }
}
