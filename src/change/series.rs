//! Changes one after the other, over one connection to xenstore as long as it holds.
//!
//! Owns that connection. Each change is made as if it were the only one.

use super::{Failed, Outcome, Request, change_over};
use crate::error::Failure;
use crate::host::Host;
use crate::signals::Signals;
use crate::xenstore::Batch as _;

/// Many changes of one run.
#[derive(Debug)]
pub struct Series<'h, H: Host> {
    host: &'h H,
    store: Option<H::Store>,
}

impl<'h, H: Host> Series<'h, H> {
    /// None yet, and no connection.
    pub const fn new(host: &'h H) -> Self {
        Self { host, store: None }
    }

    /// As [`change()`](super::change).
    ///
    /// # Errors
    /// As [`change()`](super::change).
    pub fn change(&mut self, request: &Request, signals: &mut Signals) -> Result<Outcome, Failure> {
        // A change can come to a good end on a connection that has not.
        let store = match self.store.take().filter(H::Store::is_usable) {
            Some(store) => store,
            None => self.host.connect().map_err(|error| Failed::from(error).of(None))?,
        };
        let result = change_over(self.host, &store, request, signals);
        self.store = Some(store);
        result
    }
}
