//! Whether another program has changed a target: a target is read only when its watch has fired.

use std::fmt;
use std::time::Duration;

use xen::Host;
use xen::Kib;
use xen::size::PAGE;
use xen::xenstore::{Store, StoreError};

use super::guest::Guest;
use crate::failure::Cause;
use crate::memory::{BadNode, Key, Memory};
use crate::survey::watches::Watches;

/// The target of a domain in xenstore.
#[derive(Debug)]
pub(super) enum TargetSeen {
    /// The target of the wait.
    Ours,
    /// Another one, or none.
    Changed(Option<Kib>),
    /// A value that is not a size.
    Bad(BadNode),
    /// xenstore has nothing of the domain: it is being destroyed.
    NoNodes,
}

/// The connection over which targets are watched.
#[derive(Default)]
pub(super) struct Targets {
    store: Option<Box<dyn Store>>,
    watches: Watches,
    /// Whether xenstored accepts watches; if not, targets are read at each poll.
    is_watching: bool,
}

impl Targets {
    /// Updates [`Guest::target_seen`].
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(super) fn update(
        &mut self,
        host: &dyn Host,
        guests: &mut [Guest<'_>],
    ) -> Result<(), Cause> {
        if guests.iter().all(Guest::is_gone) {
            return Ok(());
        }
        let changes = match &self.store {
            Some(store) if self.is_watching => {
                Some(self.watches.changes(&**store, Duration::ZERO)?)
            }
            Some(_) => None,
            None => {
                self.connect(host, guests)?;
                None
            }
        };
        let Some(store) = &self.store else { return Ok(()) };
        let is_due = |path: &str| match &changes {
            Some(changes) => changes.overflow || changes.of(path).next().is_some(),
            None => true,
        };
        let due: Vec<(&mut Guest<'_>, String)> = guests
            .iter_mut()
            .filter(|guest| !guest.is_gone())
            .map(|guest| {
                let path = path(guest);
                (guest, path)
            })
            .filter(|(_, path)| is_due(path))
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let paths: Vec<&str> = due.iter().map(|(_, path)| path.as_str()).collect();
        let values = store.read_each(&paths)?;
        for ((guest, _), value) in due.into_iter().zip(values) {
            let ours = guest.target();
            guest.target_seen = if value == Some(ours.0.to_string().into_bytes()) {
                TargetSeen::Ours
            } else {
                let memory = Memory::read(&**store, guest.outcome.info)?;
                match memory.target {
                    Ok(None) if memory.is_empty() => TargetSeen::NoNodes,
                    // One page off while another xmem nudges the driver.
                    Ok(Some(target)) if target.0.abs_diff(ours.0) <= PAGE.0 => TargetSeen::Ours,
                    Ok(target) => TargetSeen::Changed(target),
                    Err(node) => TargetSeen::Bad(node),
                }
            };
        }
        Ok(())
    }

    /// The connection, opened if there is none yet.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(super) fn store(&mut self, host: &dyn Host) -> Result<&dyn Store, Cause> {
        let store = match self.store.take() {
            Some(store) => store,
            None => host.connect()?,
        };
        Ok(&**self.store.insert(store))
    }

    fn connect(&mut self, host: &dyn Host, guests: &[Guest<'_>]) -> Result<(), Cause> {
        let store = host.connect()?;
        let paths: Vec<String> = guests.iter().map(path).collect();
        self.is_watching = match self.watches.set(&*store, &paths) {
            Err(error @ StoreError::Answered { .. }) => {
                tracing::debug!(%error, "cannot watch targets; reading them at each poll");
                false
            }
            set => {
                set?;
                true
            }
        };
        self.store = Some(store);
        Ok(())
    }
}

fn path(guest: &Guest<'_>) -> String {
    Key::Target.path(guest.outcome.domain.identity.domid)
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets").finish_non_exhaustive()
    }
}
