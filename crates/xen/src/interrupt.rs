//! A caller's control over waits.

use std::fmt;
use std::thread;
use std::time::Duration;

/// A caller's control over waits: it can end them, and is given their purpose.
///
/// A program implements it over its signal mask. [`NoInterrupt`] never interrupts.
pub trait Interrupt {
    /// Whether the caller wants to end as soon as no change is incomplete.
    fn pending(&self) -> bool;

    /// Sleeps for `time`, or until [`pending`](Self::pending) is true. Returns whether it is.
    fn sleep(&self, time: Duration) -> bool;

    /// Forgets the interrupts so far: [`pending`](Self::pending) becomes true at the next.
    fn forget(&self) {}

    /// Called repeatedly during a wait with its purpose: `the domain's lock: process 4711 (xl mem-set web 512) holds it`.
    /// Displaying it may read /proc, so display it only to print it.
    fn waiting_for(&self, what: &dyn fmt::Display) {
        let _ = what;
    }
}

/// An [`Interrupt`] that never interrupts.
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
