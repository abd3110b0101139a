//! All of a host's domains, or the named ones, with their numbers, states and findings.

use xen::hypervisor::{HostMemory, HypervisorError};
use xen::xenstore::Store;
use xen::{DomId, Host, Kib};

use crate::diagnosis::Diagnosis;
use crate::domain::{Domain, DomainRef};
use crate::failure::Cause;
pub use crate::memory::GuestType;
use crate::memory::Memory;
use crate::state::State;

/// What was seen. No lock is taken, so a change in progress may be shown half done.
#[derive(Debug)]
pub struct Survey {
    /// One row for each domain, by domid.
    pub rows: Vec<Row>,
    /// The host's memory, or why it is not known.
    pub host: Result<HostMemory, HypervisorError>,
    /// The domains that were asked for and are not there.
    pub missing: Vec<DomainRef>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub domain: Domain,
    /// What kind of guest.
    pub guest_type: GuestType,
    /// What it is doing.
    pub state: State,
    /// The domain whose device model it is, if it is one.
    pub device_model_of: Option<DomId>,
    /// Its memory.
    pub memory: Memory,
    /// What its guest says it uses: the guest's own word.
    pub used: Option<Kib>,
    /// Findings, the gravest first.
    pub findings: Vec<Diagnosis>,
}

/// Looks at the domains that `wanted` names, or at all of them if it is empty. Only what is named is read.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub fn survey(host: &dyn Host, store: &dyn Store, wanted: &[DomainRef]) -> Result<Survey, Cause> {
    let _ = (host, store, wanted);
    todo!()
}
