//! A domain whose lock is held: no program that takes libxl's lock changes it meanwhile.

use std::time::Duration;

use tracing::{debug, warn};
use xen::hypervisor::DomainInfo;
use xen::lock::{Lock, LockError};
use xen::userdata::FileName;
use xen::xenstore::{Nodes, Store, StoreError};
use xen::{Host, Interrupt, Kib};

use super::transaction::OpenTransaction;
use crate::domain::Domain;
use crate::failure::{Aftermath, Cause};
use crate::intent::{IntentFile, Record};
use crate::memory::{Key, Limit, Memory, guest_may_write};
use crate::plan::MemoryRequest;
use crate::recovery::{Recovery, recover};
use crate::state::State;

/// A failure, of a domain that the caller knows.
pub(super) struct Failed {
    pub(super) cause: Cause,
    pub(super) aftermath: Aftermath,
}

/// A cause alone: nothing changed.
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
    pub(super) intent: IntentFile,
    /// Its state in the hypervisor, as last read under the lock.
    pub(super) info: DomainInfo,
    /// The limit when the lock was taken.
    pub(super) first_limit: Kib,
    /// The recovery from a killed run.
    pub(super) recovery: Option<Recovery>,
    lock: Lock,
}

impl<'h> LockedDomain<'h> {
    /// Takes the lock, then makes sure that it belongs to a living domain.
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
        // libxl checks the domid only, which may belong to another domain after the wait.
        let info = living(host, domain)?;
        Ok(Self {
            host,
            store,
            domain: domain.clone(),
            intent: IntentFile::new(host.state_dir(), identity),
            info,
            first_limit: info.limit,
            recovery: None,
            lock,
        })
    }

    /// Its state in the hypervisor now.
    pub(super) fn present(&self) -> Result<DomainInfo, Cause> {
        living(self.host, &self.domain)
    }

    /// Starts a transaction for `request` and reads in it. So the commit fails if a writer without the lock changes the
    /// nodes, or if the domain is destroyed and its directory removed. The guest's report is read outside the transaction,
    /// so that a guest that keeps writing it does not make the commit conflict. A retry asks the hypervisor again: another
    /// program may have set a limit since the first try.
    pub(super) fn open(
        &self,
        request: &MemoryRequest,
        is_retry: bool,
    ) -> Result<OpenTransaction<'_>, Failed> {
        let DomainInfo { identity, current, .. } = self.info;
        let keys = if request.may_go_below(current) { Key::reports(identity.domid) } else { &[] };
        let paths: Vec<String> = keys.iter().map(|key| key.path(identity.domid)).collect();
        let beside: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (transaction, values) = self.store.begin_beside(&beside)?;
        let mut memory = Memory::read(&*transaction, self.info)?;
        memory.take_each(keys, paths.iter().zip(values));
        if is_retry {
            memory.info = self.present()?;
        }
        self.check_state(&memory)?;
        Ok(OpenTransaction { locked: self, transaction, memory })
    }

    /// Refuses a domain that is being built or destroyed. If it had a name and has no nodes any more, it is being
    /// destroyed, even if it has never run: `xl destroy` empties xenstore before it takes the lock.
    fn check_state(&self, memory: &Memory) -> Result<(), Cause> {
        if memory.is_empty() && self.domain.name.is_some() {
            return Err(Cause::Gone);
        }
        check_state(self.host, memory)
    }

    /// Completes or rolls back the change of a killed run.
    pub(super) fn recover(&mut self) -> Result<(), Failed> {
        let intent = match self.intent.read()? {
            Record::Absent => return Ok(()),
            Record::Intent(intent) => intent,
            Record::Foreign { why } => {
                let path = self.intent.set_aside()?;
                self.recovery = Some(Recovery::SetAside { path, why });
                return Ok(());
            }
        };
        let memory = Memory::read(self.store, self.info)?;
        self.check_state(&memory)?;
        let may_write = || -> Result<bool, Cause> { Ok(self.guest_may_write(self.store)?) };
        let (limit, was_set, recovery) =
            self.restore_limit(memory, |memory| recover(memory, &intent, may_write))?;
        self.info.limit = limit;
        debug!(domain = %self.domain, "{recovery}");
        let removed = self.intent.remove();
        self.recovery = Some(recovery).filter(|_| was_set || removed.is_ok());
        Ok(removed?)
    }

    /// Restores the limit that `decide` finds for a domain with this `memory`, as by
    /// [`limit_to_restore`](crate::recovery::limit_to_restore). The hypervisor is asked last, since another program may
    /// have set a limit while xenstore was read. Returns the limit, whether it had to be set, and what else `decide` has
    /// found. Every limit that is not a new plan's is set here.
    pub(super) fn restore_limit<T>(
        &self,
        memory: Memory,
        decide: impl FnOnce(&Memory) -> Result<(Kib, T), Cause>,
    ) -> Result<(Kib, bool, T), Cause> {
        let memory = Memory { info: self.present()?, ..memory };
        let present = memory.info.limit;
        let (limit, found) = decide(&memory)?;
        if limit == present {
            return Ok((limit, false, found));
        }
        match self.set_limit(limit) {
            // A call that fails may have had its effect.
            Err(error) if self.present().is_ok_and(|info| info.limit == limit) => {
                warn!(domain = %memory.domain(), limit = %Limit(limit), %error, "the limit is restored, although the call failed");
            }
            result => result?,
        }
        debug!(domain = %self.domain, from = %Limit(present), to = %Limit(limit), "limit restored");
        Ok((limit, true, found))
    }

    /// Whether the domain itself may write its memory nodes.
    pub(super) fn guest_may_write(&self, nodes: &dyn Nodes) -> Result<bool, StoreError> {
        guest_may_write(nodes, self.domain.identity.domid)
    }

    pub(super) fn set_limit(&self, limit: Kib) -> Result<(), Cause> {
        Ok(self.host.hypervisor().set_limit(self.domain.identity.domid, limit)?)
    }

    /// Whether the lock's file still exists. Another program can remove it; from then on it protects nothing.
    pub(super) fn is_still_held(&self) -> Result<bool, Cause> {
        let path = FileName::lock(self.domain.identity).in_dir(self.host.state_dir());
        let held = self.lock.still_held();
        held.map_err(|source| LockError::Os { action: "check", path, source }.into())
    }
}

/// The state of `domain` in the hypervisor, if the domain still exists and is not dying.
pub(super) fn living(host: &dyn Host, domain: &Domain) -> Result<DomainInfo, Cause> {
    match host.hypervisor().domain(domain.identity.domid)? {
        Some(info) if info.identity != domain.identity => Err(Cause::Gone),
        Some(info) if info.dying => Err(Cause::Dying),
        Some(info) => Ok(info),
        None => Err(Cause::Gone),
    }
}

/// Refuses a domain that is being built or destroyed.
pub(super) fn check_state(host: &dyn Host, memory: &Memory) -> Result<(), Cause> {
    match State::on(host, memory) {
        // Its toolstack writes target, maximum and limit at the end.
        State::Building => Err(Cause::State(State::Building)),
        State::Dying => Err(Cause::Dying),
        // `xl destroy` empties xenstore before it takes the lock to destroy the domain.
        _ if memory.is_empty() && !memory.is_dom0() => Err(Cause::Gone),
        _ => Ok(()),
    }
}
