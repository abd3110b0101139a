//! Support for tests (feature `testing`): lists of faults, a clock, changes from outside, and a xenstored to connect to.

mod xenstored;

use std::str::FromStr;

pub use self::xenstored::{Counts, WireHost, Xenstored};
use crate::error::words;
use crate::fault::VARIABLE;
use crate::{Fault, Faults, SimError, SimHost, World};

/// Parses a list of words separated by commas.
impl FromStr for Faults {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        words(VARIABLE, text).map(Self)
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<T: IntoIterator<Item = Fault>>(faults: T) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl SimHost {
    /// Replaces the clock, which returns Unix time in milliseconds.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        // A host has one clock: a second one is ignored.
        drop(self.sim.clock.set(Box::new(clock)));
        self
    }

    /// Runs `act` on the present world, and saves its changes.
    ///
    /// # Errors
    /// The world file cannot be read or replaced.
    pub fn with_world<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        self.sim.with(act)
    }
}

impl World {
    /// Removes a domain and its nodes, as `xl destroy` does.
    pub fn destroy(&mut self, domid: u16) {
        if let Some(domain) = self.domains.remove(&domid) {
            self.remove(&format!("/vm/{}", domain.uuid));
        }
        self.remove(&format!("/local/domain/{domid}"));
        self.remove(&format!("/libxl/{domid}"));
    }
}
