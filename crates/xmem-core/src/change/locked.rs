//! A domain whose lock is held: nobody who respects libxl's lock changes it meanwhile.

use std::time::Duration;

use tracing::{debug, warn};
use xen::hypervisor::DomainInfo;
use xen::lock::{Lock, LockError};
use xen::userdata::FileName;
use xen::xenstore::{Nodes, Store};
use xen::{Host, Interrupt, Kib};

use super::transaction::OpenTransaction;
use crate::domain::Domain;
use crate::failure::{Aftermath, Cause};
use crate::intent::{IntentFile, Record};
use crate::memory::{Memory, Paths};
use crate::recovery::{Recovery, Restoration, recover};
use crate::state::State;

/// A failure, of a domain that the caller knows.
pub(super) struct Failed {
    pub(super) cause: Cause,
    pub(super) aftermath: Aftermath,
}

/// A failure without another word has changed nothing.
impl<C: Into<Cause>> From<C> for Failed {
    fn from(cause: C) -> Self {
        Self { cause: cause.into(), aftermath: Aftermath::Unchanged }
    }
}

/// A domain whose lock is held.
pub(super) struct LockedDomain<'h> {
    pub(super) host: &'h dyn Host,
    pub(super) store: &'h dyn Store,
    pub(super) domain: Domain,
    pub(super) paths: Paths,
    pub(super) intent: IntentFile,
    /// What the hypervisor said of it under the lock, last of all.
    pub(super) info: DomainInfo,
    lock: Lock,
}

/// What became of a limit that was to be restored.
#[derive(Clone, Copy)]
pub(super) struct Restored {
    /// The limit now.
    pub(super) limit: Kib,
    /// Whether it had to be set.
    pub(super) was_set: bool,
}

impl<'h> LockedDomain<'h> {
    /// Takes the lock, then makes sure that it is still the lock of a living domain.
    pub(super) fn take(
        host: &'h dyn Host,
        store: &'h dyn Store,
        domain: &Domain,
        timeout: Duration,
        interrupt: &dyn Interrupt,
    ) -> Result<Self, Failed> {
        let identity = domain.identity;
        let lock = Lock::take(host.state_dir(), identity, timeout, interrupt)?;
        debug!(%domain, "locked");
        // libxl looks at the domid only; it can have been given to another domain during the wait.
        let info = living(host, domain)?;
        Ok(Self {
            host,
            store,
            domain: domain.clone(),
            paths: Paths::of(identity),
            intent: IntentFile::new(host.state_dir(), identity),
            info,
            lock,
        })
    }

    /// Asks the hypervisor again.
    pub(super) fn refresh(&mut self) -> Result<(), Cause> {
        self.info = self.present()?;
        Ok(())
    }

    /// What the hypervisor says of it now.
    pub(super) fn present(&self) -> Result<DomainInfo, Cause> {
        living(self.host, &self.domain)
    }

    /// Starts a transaction and reads in it. That the reads are part of it protects against a writer without the lock, and
    /// against writing into a dead domain's directory: both make the commit fail.
    pub(super) fn open(&self) -> Result<OpenTransaction<'_>, Failed> {
        let transaction = self.store.begin()?;
        let memory = Memory::read(&*transaction, self.info)?;
        check_state(self.host, &memory)?;
        Ok(OpenTransaction { locked: self, transaction, memory })
    }

    /// Whether a killed run left a record. Leaves it.
    pub(super) fn pending_recovery(&self) -> Result<Option<Recovery>, Failed> {
        Ok(match self.intent.read()? {
            Record::Absent => None,
            _ => Some(Recovery::Pending(self.intent.path().to_owned())),
        })
    }

    /// Completes or rolls back what a killed run left.
    pub(super) fn recover(&mut self) -> Result<Option<Recovery>, Failed> {
        let intent = match self.intent.read()? {
            Record::Absent => return Ok(None),
            Record::Intent(intent) => intent,
            Record::Foreign { why } => {
                let path = self.intent.set_aside()?;
                return Ok(Some(Recovery::SetAside { path, why }));
            }
        };
        let memory = Memory::read(self.store, self.info)?;
        check_state(self.host, &memory)?;
        let (restoration, report) = recover(&memory, &intent)?;
        let restored = self.restore_limit(Some(self.store), &memory, restoration)?;
        self.info.limit = restored.limit;
        let recovery = report(restored.limit);
        debug!(domain = %self.domain, "{recovery}");
        self.intent.remove().map_err(|error| Failed {
            aftermath: if restored.was_set {
                Aftermath::Recovered(recovery.clone())
            } else {
                Aftermath::Unchanged
            },
            cause: error.into(),
        })?;
        Ok(Some(recovery))
    }

    /// Restores a limit: after a failure, a conflict, a lost commit, a kill. Everything that sets a limit other than a new
    /// plan's goes through here.
    ///
    /// The limit is restored only while the hypervisor shows one that the change itself left; another program's stays. It
    /// is never too low for the target in xenstore, unless the guest may write that itself. `memory` is what the domain has
    /// now; `nodes` is xenstore, if it may be asked.
    pub(super) fn restore_limit(
        &self,
        nodes: Option<&dyn Nodes>,
        memory: &Memory,
        restoration: Restoration,
    ) -> Result<Restored, Cause> {
        let domid = self.domain.identity.domid;
        let present = memory.info.limit;
        let plain = restoration.limit(memory);
        let needed = restoration.limit_for_target(memory);
        let limit = match nodes {
            _ if needed == plain => plain,
            Some(nodes) if !self.paths.guest_may_write(nodes, domid)? => needed,
            _ => plain,
        };
        if limit == present {
            return Ok(Restored { limit, was_set: false });
        }
        match self.set_limit(limit) {
            // A call that fails may have had its effect.
            Err(error) if self.present().is_ok_and(|info| info.limit == limit) => {
                warn!(domain = %self.domain, %limit, %error, "the limit is restored all the same");
            }
            result => result?,
        }
        debug!(domain = %self.domain, from = %present, to = %limit, "limit restored");
        Ok(Restored { limit, was_set: true })
    }

    pub(super) fn set_limit(&self, limit: Kib) -> Result<(), Cause> {
        Ok(self.host.hypervisor().set_limit(self.domain.identity.domid, limit)?)
    }

    /// Whether the lock's file is still there. Another program can remove it; from then on it protects nothing.
    pub(super) fn is_still_held(&self) -> Result<bool, Cause> {
        let path = FileName::lock(self.domain.identity).in_dir(self.host.state_dir());
        let held = self.lock.still_held();
        held.map_err(|source| LockError::Os { action: "check", path, source }.into())
    }
}

/// What the hypervisor says of `domain`, if it is still the same one and not dying.
fn living(host: &dyn Host, domain: &Domain) -> Result<DomainInfo, Cause> {
    match host.hypervisor().domain(domain.identity.domid)? {
        Some(info) if info.identity == domain.identity && !info.dying => Ok(info),
        _ => Err(Cause::Gone),
    }
}

/// Refuses a domain that is being built, or destroyed.
pub(super) fn check_state(host: &dyn Host, memory: &Memory) -> Result<(), Cause> {
    match State::on(host, memory) {
        // Its toolstack writes target, maximum and limit at the end.
        State::Building => Err(Cause::State(State::Building)),
        State::Dying => Err(Cause::Gone),
        // `xl destroy` empties xenstore before it takes the lock to destroy the domain.
        _ if memory.is_empty() && !memory.is_dom0() => Err(Cause::Gone),
        _ => Ok(()),
    }
}
