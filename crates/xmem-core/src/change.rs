//! The change: how target and limit are kept in step, from top to bottom.

use std::time::Duration;

use xen::hypervisor::DomainInfo;
use xen::{Host, Interrupt, Kib};

use crate::domain::{Domain, DomainRef};
use crate::failure::Failure;
use crate::plan::{MemoryRequest, Plan};
use crate::recovery::Recovery;
use crate::state::State;

/// A change that is asked for.
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    /// Of which domain.
    pub domain: DomainRef,
    /// To what.
    pub memory: MemoryRequest,
    /// Memory of the host that must stay free.
    pub keep_free: Option<Kib>,
    /// Stop when the plan is made.
    pub dry_run: bool,
    /// How long to wait for the domain's lock.
    pub lock_timeout: Duration,
}

/// A change that succeeded.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The domain.
    pub domain: Domain,
    /// What it was doing.
    pub state: State,
    /// What the hypervisor said of it, under the lock, before the change.
    pub info: DomainInfo,
    /// The plan.
    pub plan: Plan,
    /// Whether it was carried out.
    pub status: ChangeStatus,
    /// What a killed run had left, and what became of it.
    pub recovery: Option<Recovery>,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeStatus {
    /// It was made.
    Changed,
    /// Everything was so already.
    Unchanged,
    /// It was only planned.
    DryRun,
}

/// Changes one after the other, over one connection to xenstore for as long as it holds.
pub struct ChangeSession<'h> {
    host: &'h dyn Host,
}

impl<'h> ChangeSession<'h> {
    /// No change yet, and no connection.
    pub const fn new(host: &'h dyn Host) -> Self {
        Self { host }
    }

    /// Changes a domain's memory as `request` says, or leaves it as it was.
    ///
    /// # Errors
    /// [`Failure`]: what stopped it, and the state that is left.
    pub fn change(
        &mut self,
        request: &ChangeRequest,
        interrupt: &dyn Interrupt,
    ) -> Result<Outcome, Failure> {
        let _ = (self.host, request, interrupt);
        todo!()
    }
}
