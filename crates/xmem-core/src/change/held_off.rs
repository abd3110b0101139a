//! The interrupt of a change that undoes an earlier one.

use std::fmt;
use std::time::Duration;

use xen::Interrupt;

/// A caller's interrupt that ends only the wait for the domain's lock.
pub(crate) struct HeldOff<'a> {
    pub(crate) interrupt: &'a dyn Interrupt,
}

impl Interrupt for HeldOff<'_> {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, time: Duration) -> bool {
        self.interrupt.sleep(time)
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.interrupt.waiting_for(what);
    }
}
