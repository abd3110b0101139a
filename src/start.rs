//! Where the program begins: without what Rust's runtime does before `main`, some twenty system calls to be able
//! to tell of a stack overflow.
//!
//! Owns that of it which a change of memory cannot do without: three standard streams that are open, no death by
//! SIGPIPE, and a panic that undoes what is half made. Only with glibc, which hands the arguments to
//! [`std::env::args`] by itself; with any other libc the program begins as usual.

#![expect(unsafe_code, reason = "the symbol that the C library calls, and a signal's disposition")]

use std::ffi::{c_char, c_int};
use std::io::{self, Write as _};
use std::panic;

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use xmem::error::Exit;

use crate::report;

/// What a run ends with that has panicked, as with Rust's own runtime.
const PANICKED: u8 = 101;

// SAFETY: no other function has this name, and the C library calls it as it is declared.
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    let exit = panic::catch_unwind(|| {
        let exit = match ignore_sigpipe().and_then(|()| open_streams()) {
            Ok(()) => crate::run(),
            Err(error) => {
                report::complain(&format!("xmem: cannot begin: {error}"));
                Exit::Failed
            }
        };
        // Whatever is printed is flushed there; this is for what a library may have left.
        let _told = io::stdout().flush();
        u8::from(exit)
    });
    exit.unwrap_or(PANICKED).into()
}

fn ignore_sigpipe() -> io::Result<()> {
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    Ok(())
}

/// Puts /dev/null where a standard stream is closed: the next file to be opened would take its place otherwise,
/// and what is printed would go to the hypervisor, say.
fn open_streams() -> io::Result<()> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut fds = streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::empty()));
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    for _closed in fds.iter().filter(|fd| fd.revents().contains(PollFlags::NVAL)) {
        // It gets the lowest free number.
        let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
        std::mem::forget(null);
    }
    Ok(())
}
