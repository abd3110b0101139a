//! From what a user calls a domain to the domain that is there.
//!
//! Owns the look-up. The hypervisor decides which domains exist; xenstore only says what they are
//! called. Never changes anything.

use std::io;

use crate::domain::{DomId, Domain, DomainRef, Identity, Name};
use crate::hypervisor::{DomainInfo, Hypervisor, HypervisorError};
use crate::nodes::{name_path, read_text};
use crate::xenstore::{Answer, Batch, StoreError};

/// Why a domain was not found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is none.
    #[error("there is no {wanted} on this host")]
    NoSuchDomain {
        /// What was asked for.
        wanted: DomainRef,
        /// A domain that is called nearly so.
        near: Option<Name>,
    },
    /// There are several.
    #[error("{wanted} is the name of several domains: {}", list(domids))]
    Ambiguous {
        /// What was asked for.
        wanted: DomainRef,
        /// The domains.
        domids: Vec<DomId>,
    },
    /// xenstore did not tell.
    #[error(transparent)]
    Store(#[from] io::Error),
    /// The hypervisor did not tell.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
}

fn list(domids: &[DomId]) -> String {
    domids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Finds the one domain that `wanted` stands for. Its name is only looked up where it is needed to
/// find it.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve(
    store: &impl Batch,
    hypervisor: &impl Hypervisor,
    wanted: &DomainRef,
) -> Result<Domain, ResolveError> {
    let mut near = None;
    let found: Vec<Domain> = match wanted {
        DomainRef::Id(domid) => {
            let found = identity(hypervisor, *domid)?;
            found.map(|identity| Domain { identity, name: None }).into_iter().collect()
        }
        DomainRef::Same(same) => {
            let found = identity(hypervisor, same.domid)?.filter(|found| found == same);
            found.map(|identity| Domain { identity, name: None }).into_iter().collect()
        }
        DomainRef::Uuid(uuid) => {
            let mut of: Vec<DomainInfo> = hypervisor.domains()?;
            of.retain(|info| info.identity.uuid == *uuid);
            // A guest that was started anew while its dead one still has memory has the same UUID.
            if of.iter().any(|info| !info.dying) {
                of.retain(|info| !info.dying);
            }
            of.iter().map(|info| Domain { identity: info.identity, name: None }).collect()
        }
        DomainRef::Name(name) => {
            let infos = hypervisor.domains()?;
            let domids: Vec<DomId> = infos.iter().map(|info| info.identity.domid).collect();
            let mut found = Vec::new();
            for (info, called) in infos.iter().zip(called(store, &domids)?) {
                // One whose name is not text cannot be what a user typed.
                let Some(called) = called else { continue };
                if called == *name {
                    found.push(Domain { identity: info.identity, name: Some(called) });
                } else if called.0.eq_ignore_ascii_case(&name.0) {
                    near = Some(called);
                }
            }
            found
        }
    };
    match <[Domain; 1]>::try_from(found) {
        Ok([domain]) => Ok(domain),
        Err(none) if none.is_empty() => {
            Err(ResolveError::NoSuchDomain { wanted: wanted.clone(), near })
        }
        Err(several) => Err(ResolveError::Ambiguous {
            wanted: wanted.clone(),
            domids: several.iter().map(|domain| domain.identity.domid).collect(),
        }),
    }
}

fn identity(
    hypervisor: &impl Hypervisor,
    domid: DomId,
) -> Result<Option<Identity>, HypervisorError> {
    Ok(hypervisor.domain(domid)?.map(|info| info.identity))
}

/// The domids that xenstore knows, and dom0, which need not be there. Some may be of dead domains.
///
/// # Errors
/// xenstore does not answer.
pub fn domids(store: &impl Batch) -> io::Result<Vec<DomId>> {
    let mut domids: Vec<DomId> = match store.directory("/local/domain") {
        Ok(entries) => {
            entries.iter().filter_map(|entry| entry.parse().ok().and_then(DomId::new)).collect()
        }
        Err(error) if StoreError::is(&error, &Answer::NotFound) => Vec::new(),
        Err(error) => return Err(error),
    };
    domids.push(DomId::DOM0);
    domids.sort_unstable();
    domids.dedup();
    Ok(domids)
}

/// What the domains of [`domids`] are called; `None` where there is no name, or one that is not text.
///
/// # Errors
/// xenstore does not answer.
pub fn names(store: &impl Batch) -> io::Result<Vec<(DomId, Option<Name>)>> {
    let domids = domids(store)?;
    let names = called(store, &domids)?;
    Ok(domids.into_iter().zip(names).collect())
}

/// What each of `domids` is called.
fn called(store: &impl Batch, domids: &[DomId]) -> io::Result<Vec<Option<Name>>> {
    let paths: Vec<String> = domids.iter().map(|domid| name_path(*domid)).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let names = read_text(store, &paths)?;
    Ok(names.into_iter().map(|name| name.map(|name| Name(name.into()))).collect())
}
