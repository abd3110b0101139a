//! From what a user calls a domain to the domain.
//!
//! The hypervisor decides which domains exist; xenstore only says what they are called.

use xen::DomId;
use xen::hypervisor::HypervisorError;
use xen::xenstore::StoreError;

use crate::domain::{DomainRef, Name};

/// Why a domain was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is none.
    #[error("there is no {wanted} on this host")]
    NoSuchDomain {
        /// What was asked for.
        wanted: DomainRef,
        /// A domain with a similar name.
        similar: Option<Name>,
    },
    /// There are several.
    #[error("{wanted} is the name of several domains: {}", list(domids))]
    Ambiguous {
        /// What was asked for.
        wanted: DomainRef,
        /// The domains.
        domids: Vec<DomId>,
    },
    /// xenstore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hypervisor failed.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
}

fn list(domids: &[DomId]) -> String {
    domids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
