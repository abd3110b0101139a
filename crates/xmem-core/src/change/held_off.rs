//! The interrupt of a change that undoes an earlier one.

use std::fmt;
use std::time::Duration;

use xen::{Interrupt, NoInterrupt};

/// A caller's interrupt, held off until the end of a change. The caller still learns what the change waits for.
pub(crate) struct HeldOff<'a> {
    pub(crate) interrupt: &'a dyn Interrupt,
    /// Whether it still ends the wait for the domain's lock.
    pub(crate) ends_wait: bool,
}

impl Interrupt for HeldOff<'_> {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, time: Duration) -> bool {
        if self.ends_wait { self.interrupt.sleep(time) } else { NoInterrupt.sleep(time) }
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.interrupt.waiting_for(what);
    }
}
