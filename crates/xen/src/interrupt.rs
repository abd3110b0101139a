//! How a caller takes part in a wait.

use std::fmt;
use std::thread;
use std::time::Duration;

/// A caller's say in everything that waits: it can end the wait, and hears what is being waited for.
///
/// A program implements it over its signal mask; [`NoInterrupt`] is for those that never interrupt.
pub trait Interrupt {
    /// Whether the run is to end as soon as nothing is half done.
    fn pending(&self) -> bool;

    /// Sleeps for `time`, or until [`pending`](Self::pending) turns true. Returns what that is now.
    fn sleep(&self, time: Duration) -> bool;

    /// Called now and again during a wait, with what it is for: "the domain's lock, held by process 4711 (xl ...)".
    fn waiting_for(&self, what: &dyn fmt::Display) {
        let _ = what;
    }
}

/// Never interrupts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInterrupt;

impl Interrupt for NoInterrupt {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, time: Duration) -> bool {
        thread::sleep(time);
        false
    }
}
