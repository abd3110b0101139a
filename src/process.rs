//! What the kernel says about this process and this host.
//!
//! Owns the asking: once for what stays the same, and with no more system calls than it takes. Never asks about another
//! process.

#![expect(unsafe_code, reason = "two calls of the C library that no crate wraps")]

use std::fs::File;
use std::io::{self, Read as _};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::process;
use std::sync::OnceLock;

use nix::libc;
use nix::sys::signal::SigSet;

/// More than the longest of the kernel's words.
const MOST_BYTES: usize = 64;

/// Its number. glibc asks the kernel each time.
pub(crate) fn pid() -> u32 {
    static PID: OnceLock<u32> = OnceLock::new();
    *PID.get_or_init(process::id)
}

/// Whose it is: the real uid that it was started with, and xmem takes no other.
pub(crate) fn uid() -> u32 {
    // SAFETY: it takes any number, and reads what the kernel has left for the program at its start.
    let uid = unsafe { libc::getauxval(libc::AT_UID) };
    // The kernel's uids have 32 bits.
    u32::try_from(uid).unwrap_or(u32::MAX)
}

/// The signals that wait until this thread lets them through.
pub(crate) fn pending_signals() -> io::Result<SigSet> {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: it leads to room for what the call writes there.
    if unsafe { libc::sigpending(pending.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has written it, and the C library's sets of signals are nix's.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(pending.assume_init()) })
}

/// The word in `path`, one of the kernel's files with a single word in it that stays the same, without white space around
/// it. `None` where there is no such file, or none that may be read.
pub(crate) fn word(path: &str) -> Option<Box<str>> {
    let mut text = [0; MOST_BYTES];
    // It is asked once, and left for the end of the process to close.
    let mut file = ManuallyDrop::new(File::open(path).ok()?);
    let length = file.read(&mut text).ok()?;
    Some(str::from_utf8(text.get(..length)?).ok()?.trim().into())
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[test]
    fn the_uid_is_the_one_that_the_kernel_knows() {
        assert_eq!(uid(), rustix::process::getuid().as_raw());
    }

    #[test]
    fn a_signal_is_pending_while_it_is_blocked() {
        let mut set = SigSet::empty();
        assert!(!pending_signals().unwrap().contains(Signal::SIGURG));
        set.add(Signal::SIGURG);
        set.thread_block().unwrap();
        raise(Signal::SIGURG).unwrap();
        assert!(pending_signals().unwrap().contains(Signal::SIGURG));
        set.thread_unblock().unwrap();
        assert!(!pending_signals().unwrap().contains(Signal::SIGURG));
    }
}
