//! A pending change: written in its transaction, with the new limit set; then committed or rolled back.

use rustix::io::Errno;
use tracing::{debug, error, warn};
use xen::hypervisor::{HypervisorError, UNLIMITED};
use xen::xenstore::{Answer, Nodes, Store, StoreError, Transaction};
use xen::{Kib, Mib};

use super::locked::{Failed, LockedDomain};
use crate::domain::Domain;
use crate::failure::{Aftermath, Cause, chain};
use crate::memory::{Key, Limit, Memory, Numbers, vm_memory_path};
use crate::plan::{Note, Plan};
use crate::recovery::{CommitState, limit_to_restore};

/// A change that needs only its commit. Dropped, it is rolled back.
pub(super) struct PendingChange<'a> {
    locked: &'a LockedDomain<'a>,
    /// `None` once it is over.
    transaction: Option<Box<dyn Transaction + 'a>>,
    /// The domain's memory, read in the transaction.
    memory: Memory,
    /// The domain, with the name that it has there.
    domain: Domain,
    plan: Plan,
    limit_changed: bool,
    is_over: bool,
}

/// The result of a commit.
pub(super) enum Commit {
    Done(Plan),
    /// Another program's commit came first. The state after rolling back.
    Conflict(Aftermath),
}

impl<'a> PendingChange<'a> {
    /// Writes the nodes of `plan` and sets its limit. A failure is rolled back.
    pub(super) fn prepare(
        locked: &'a LockedDomain<'a>,
        transaction: Box<dyn Transaction + 'a>,
        memory: Memory,
        plan: Plan,
    ) -> Result<Self, Failed> {
        let domain = memory.domain();
        let mut pending = Self {
            locked,
            transaction: Some(transaction),
            memory,
            domain,
            plan,
            limit_changed: false,
            is_over: false,
        };
        match pending.make() {
            Ok(()) => Ok(pending),
            Err(cause) => Err(pending.fail(None, cause)),
        }
    }

    /// All writes are acknowledged before the limit is changed.
    fn make(&mut self) -> Result<(), Cause> {
        let Self { locked, domain, plan, transaction, .. } = self;
        if let Some(transaction) = transaction {
            write(locked, plan, &**transaction)?;
        }
        // From here on the limit counts as changed: a call that fails may have had its effect.
        self.limit_changed = true;
        locked.set_limit(plan.new.limit)?;
        debug!(domain = %domain, from = %Limit(plan.old.limit), to = %Limit(plan.new.limit), "limit set");
        if let Some(pod) = plan.pod {
            set_pod_target(locked, pod)?;
        }
        if locked.is_still_held()? { Ok(()) } else { Err(Cause::LockLost) }
    }

    /// Commits, or rolls back.
    pub(super) fn commit(mut self) -> Result<Commit, Failed> {
        let Some(Err(error)) = self.transaction.take().map(Transaction::commit) else {
            return Ok(Commit::Done(self.finish()));
        };
        match error {
            StoreError::Answered { answer: Answer::Again, .. } => {
                let aftermath = self.roll_back(None)?;
                debug!(domain = %self.domain, %aftermath, "conflict at the commit");
                Ok(Commit::Conflict(aftermath))
            }
            // It was never sent.
            StoreError::Unsendable { .. } | StoreError::Unusable { .. } => {
                Err(self.fail(None, error.into()))
            }
            // It may be carried out at any later time, so reading now would prove nothing.
            StoreError::Deadline { .. } => Err(self.leave_unknown(error.into())),
            _ => self.resolve_lost_commit(error),
        }
    }

    /// Resolves a commit without a clear answer: the connection died, or the errno was neither success nor a conflict
    /// (oxenstored answers EIO to internal errors, even after it has committed). A daemon processes what a connection
    /// has sent before it reads from a later one, so a new connection shows the outcome.
    fn resolve_lost_commit(mut self, error: StoreError) -> Result<Commit, Failed> {
        let domain = &self.domain;
        warn!(%domain, %error, "no clear answer to the commit; reading its outcome");
        let read = || -> Result<_, Cause> {
            let store = self.locked.host.connect()?;
            let shown = Memory::read(&*store, self.memory.info)?.numbers()?;
            Ok((store, shown))
        };
        let (store, shown) = match read() {
            Ok(read) => read,
            Err(again) => {
                warn!(%domain, error = %chain(&again), "cannot read it");
                return Err(self.leave_unknown(error.into()));
            }
        };
        match CommitState::of(shown, self.plan.old, self.plan.new) {
            CommitState::Applied => Ok(Commit::Done(self.finish())),
            CommitState::NotApplied | CommitState::Superseded => {
                Err(self.fail(Some(&*store), Cause::Commit(error)))
            }
        }
    }

    /// Removes the record of a committed change.
    fn finish(&mut self) -> Plan {
        self.is_over = true;
        debug!(domain = %self.domain, "committed");
        if let Err(error) = self.locked.intent.remove() {
            warn!(domain = %self.domain, "{}; the next xmem removes it", chain(&error));
            let (path, why) = (error.path, error.source.to_string());
            self.plan.notes.push(Note::RecordLeft { path, why });
        }
        self.plan.clone()
    }

    /// Rolls back because of `cause`. Reads through `fresh`, or else through any connection.
    fn fail(mut self, fresh: Option<&dyn Store>, cause: Cause) -> Failed {
        let failed = match self.roll_back(fresh) {
            Ok(aftermath) => Failed { cause, aftermath },
            Err(failed) => failed,
        };
        self.warn_of_added();
        failed
    }

    /// Warns if the hypervisor has added memory for the PoD target, which is not rolled back.
    fn warn_of_added(&self) {
        let LockedDomain { host, info, .. } = self.locked;
        let grows = self.limit_changed && self.plan.new.target > self.plan.old.target;
        if !grows || self.plan.pod.is_none() {
            return;
        }
        let Ok(now) = self.locked.present() else { return };
        // Without such memory the call adds none, and the guest has grown by itself.
        let is_populating = || {
            let pod = host.hypervisor().pod(info.identity.domid);
            pod.is_ok_and(|pod| pod.entries > Kib(0))
        };
        if let Some(added) = now.current.minus(info.current).filter(|added| added.mib() > 0)
            && is_populating()
        {
            warn!(
                domain = %self.domain,
                "the hypervisor has added {} MiB, which stay until the guest balloons down",
                Mib(added)
            );
        }
    }

    /// Restores the old limit, unless another program has set one. Reads through `fresh`, or else through any
    /// connection.
    ///
    /// The PoD target is not restored: the hypervisor never shrinks a PoD cache (`p2m_pod_set_mem_target`,
    /// `xen/arch/x86/mm/p2m-pod.c`), so the call would do nothing. Added memory stays until the guest
    /// balloons down.
    fn roll_back(&mut self, fresh: Option<&dyn Store>) -> Result<Aftermath, Failed> {
        self.is_over = true;
        // Aborts it, if it is still open.
        drop(self.transaction.take());
        let before = self.plan.old.limit;
        let mut aftermath = Aftermath::Unchanged;
        if self.limit_changed {
            let LockedDomain { host, store, .. } = self.locked;
            let again = match fresh {
                None if !store.is_usable() => host.connect().ok(),
                _ => None,
            };
            let nodes = fresh.or(again.as_deref()).unwrap_or(*store);
            match self.restore(Some(nodes), before) {
                // The call that was to change it had no effect.
                Ok((limit, false)) if limit == before => {}
                Ok((limit, _)) => aftermath = Aftermath::RolledBack { limit, before },
                // A domain that is gone needs no limit, and a refused change has set none.
                Err(cause) if cause.is_gone() => {}
                // The record may be that of the lock's next holder.
                Err(Cause::LockLost) if self.limit_is(before) => return Ok(aftermath),
                Err(_) if self.limit_is(before) => {}
                Err(cause) => {
                    let why = format!("the old limit ({}) could not be restored", Limit(before));
                    return Err(self.out_of_step(cause, None, why));
                }
            }
        }
        if let Err(error) = self.locked.intent.remove() {
            warn!(domain = %self.domain, "{}; the next xmem removes it", chain(&error));
        }
        Ok(aftermath)
    }

    fn limit_is(&self, limit: Kib) -> bool {
        self.locked.present().is_ok_and(|info| info.limit == limit)
    }

    /// Sets the limit `to`, by [`limit_to_restore`]. `nodes` is xenstore, if it may be read. Returns the limit now,
    /// and whether it had to be set.
    fn restore(&self, nodes: Option<&dyn Nodes>, to: Kib) -> Result<(Kib, bool), Cause> {
        // If xenstore does not answer, the transaction's reads are used.
        let read = nodes
            .and_then(|nodes| Some((Some(nodes), Memory::read(nodes, self.memory.info).ok()?)));
        let (nodes, memory) = read.unwrap_or_else(|| (None, self.memory.clone()));
        // The present holder of the lock may have set a limit and a target.
        if matches!(self.locked.is_still_held(), Ok(false)) {
            return Err(Cause::LockLost);
        }
        let may_write = || -> Result<bool, Cause> {
            // Nodes whose permissions cannot be read raise no limit.
            nodes.map_or(Ok(true), |nodes| Ok(self.locked.guest_may_write(nodes)?))
        };
        let (limit, was_set, ()) = self.locked.restore_limit(memory, |memory| {
            Ok((limit_to_restore(memory, &[self.plan.new.limit], to, may_write)?, ()))
        })?;
        Ok((limit, was_set))
    }

    /// Handles a commit with an unknown outcome. Leaves the larger limit, safe for either target, and the record, so
    /// that the next run can resolve it.
    fn leave_unknown(mut self, cause: Cause) -> Failed {
        self.is_over = true;
        let why = format!("whether {} committed is not known", new_values(&self.plan));
        let larger = self.plan.old.limit.max(self.plan.new.limit);
        match self.restore(None, larger) {
            Ok((limit, _)) => self.out_of_step(cause, Some(limit), why),
            Err(lost @ Cause::LockLost) => self.out_of_step(lost, None, why),
            Err(error) => self.out_of_step(cause, None, format!("{why}, and {}", chain(&error))),
        }
    }

    fn out_of_step(&self, cause: Cause, limit: Option<Kib>, why: String) -> Failed {
        let intent = self.locked.intent.path().to_owned();
        Failed { cause, aftermath: Aftermath::OutOfStep { limit, why, intent } }
    }
}

impl Drop for PendingChange<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Err(failed) = self.roll_back(None) {
            error!(domain = %self.domain, "{}", chain(&failed.cause));
        }
    }
}

/// Writes the nodes of `plan`.
fn write(
    locked: &LockedDomain<'_>,
    plan: &Plan,
    transaction: &dyn Transaction,
) -> Result<(), StoreError> {
    let identity = locked.domain.identity;
    let Numbers { target, static_max, .. } = plan.new;
    let target_changes = target != plan.old.target;
    let max_changes = static_max != plan.old.static_max;
    // `set` writes even an unchanged target, as libxl does. So does a change of the limit alone, so that it conflicts
    // with any other writer of the target.
    let writes_target = target_changes || plan.sets_target || !max_changes;
    let node = |applies: bool, path: String, value: Option<u64>| {
        value.filter(|_| applies).map(|value| (path, value.to_string()))
    };
    let nodes = [
        node(writes_target, Key::Target.path(identity.domid), target.map(|kib| kib.0)),
        node(max_changes, Key::StaticMax.path(identity.domid), static_max.map(|kib| kib.0)),
        // MiB, rounded down, as libxl writes it.
        node(plan.sets_target, vm_memory_path(identity.uuid), target.map(Kib::mib)),
    ];
    let nodes: Vec<(String, String)> = nodes.into_iter().flatten().collect();
    let nodes: Vec<(&str, &str)> = nodes.iter().map(|(path, value)| (&**path, &**value)).collect();
    transaction.write_each(&nodes)?;
    let written: Vec<String> =
        nodes.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    debug!(domain = %locked.domain, nodes = written.join(", "), "written in the transaction");
    Ok(())
}

/// Sets the PoD target. With a device passed through, Xen refuses the call (ENOTEMPTY) even for a guest without
/// populate-on-demand memory; then the refusal is ignored.
fn set_pod_target(locked: &LockedDomain<'_>, target: Kib) -> Result<(), HypervisorError> {
    let (hypervisor, domid) = (locked.host.hypervisor(), locked.domain.identity.domid);
    match hypervisor.set_pod_target(domid, target) {
        Err(error) if error.errno() == Some(Errno::NOTEMPTY) => {
            if hypervisor.pod(domid)?.entries > Kib(0) {
                return Err(error);
            }
            debug!(domain = %locked.domain, "a device is passed through, and there is no populate-on-demand memory");
        }
        result => {
            result?;
            debug!(domain = %locked.domain, to = %target, "populate-on-demand target set");
        }
    }
    Ok(())
}

/// `the new target of 512 MiB was`: the values that a plan writes to xenstore, with a verb.
fn new_values(plan: &Plan) -> String {
    let Numbers { target, static_max, .. } = plan.new;
    let value = |what, old: Option<Kib>, new: Option<Kib>| {
        new.filter(|_| old != new).map(|new| format!("the new {what} of {new}"))
    };
    let values = [
        value("target", plan.old.target, target),
        value("maximum", plan.old.static_max, static_max.filter(|max| *max < UNLIMITED)),
    ];
    match &values.into_iter().flatten().collect::<Vec<_>>()[..] {
        [] => "the change was".to_owned(),
        [value] => format!("{value} was"),
        values => format!("{} were", values.join(" and ")),
    }
}
