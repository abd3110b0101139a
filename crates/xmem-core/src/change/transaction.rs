//! A locked domain's transaction, and the plan made from its reads.

use xen::xenstore::Transaction;

use super::KeepFree;
use super::locked::{Failed, LockedDomain};
use super::pending::PendingChange;
use super::planned::plan_on;
use crate::failure::Cause;
use crate::memory::Memory;
use crate::plan::{MemoryRequest, Plan};

/// A transaction and its reads. Dropping it aborts it.
pub(super) struct OpenTransaction<'a> {
    pub(super) locked: &'a LockedDomain<'a>,
    pub(super) transaction: Box<dyn Transaction + 'a>,
    pub(super) memory: Memory,
}

/// A planned change. Nothing is written yet.
pub(super) struct PlannedChange<'a> {
    open: OpenTransaction<'a>,
    pub(super) plan: Plan,
}

impl<'a> OpenTransaction<'a> {
    /// Plans `request`.
    pub(super) fn plan(
        self,
        request: &MemoryRequest,
        keep_free: Option<KeepFree>,
    ) -> Result<PlannedChange<'a>, Cause> {
        let LockedDomain { host, store, .. } = *self.locked;
        let plan = plan_on(host, store, &*self.transaction, &self.memory, request, keep_free)?;
        Ok(PlannedChange { open: self, plan })
    }
}

impl<'a> PlannedChange<'a> {
    /// Makes the change up to its commit. A failure is rolled back.
    pub(super) fn prepare(self) -> Result<PendingChange<'a>, Failed> {
        let Self { open: OpenTransaction { locked, transaction, memory }, plan } = self;
        locked.intent.write(plan.old, plan.new)?;
        PendingChange::prepare(locked, transaction, memory, plan)
    }
}
