//! From what a user calls a domain to the domain that is there.
//!
//! Owns the look-up. The hypervisor decides which domains exist; xenstore only says what they are
//! called. Never changes anything.

use std::collections::BTreeMap;
use std::io;

use crate::domain::{DomId, Domain, DomainRef, Identity, Name, Uuid};
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
    let there = match wanted {
        DomainRef::Id(domid) => hypervisor.domain(*domid)?,
        DomainRef::Same(same) => hypervisor.domain(same.domid)?.filter(|it| it.identity == *same),
        DomainRef::Uuid(_) | DomainRef::Name(_) => {
            let census = Census::take(store, hypervisor, [wanted])?;
            return census.find(wanted).map(|(domain, _)| domain);
        }
    };
    let there = there.map(|info| Domain { identity: info.identity, name: None });
    there.ok_or_else(|| ResolveError::NoSuchDomain { wanted: wanted.clone(), near: None })
}

/// All domains of a host, looked at once, to find any number of them.
#[derive(Debug, Default)]
pub struct Census {
    infos: BTreeMap<DomId, DomainInfo>,
    uuids: BTreeMap<Uuid, Vec<DomId>>,
    names: BTreeMap<Name, Vec<DomId>>,
    /// By their names in small letters.
    near: BTreeMap<String, Name>,
}

impl Census {
    /// Looks at all domains, and what they are called if one of `wanted` is a name.
    ///
    /// # Errors
    /// xenstore or the hypervisor do not answer.
    pub fn take<'a>(
        store: &impl Batch,
        hypervisor: &impl Hypervisor,
        wanted: impl IntoIterator<Item = &'a DomainRef>,
    ) -> Result<Self, ResolveError> {
        let mut census = Self::default();
        let infos = hypervisor.domains()?;
        let domids: Vec<DomId> = infos.iter().map(|info| info.identity.domid).collect();
        for info in infos {
            let Identity { domid, uuid } = info.identity;
            census.uuids.entry(uuid).or_default().push(domid);
            census.infos.insert(domid, info);
        }
        if wanted.into_iter().any(|wanted| matches!(wanted, DomainRef::Name(_))) {
            // One whose name is not text cannot be what a user typed.
            for (domid, name) in domids.iter().zip(called(store, &domids)?) {
                let Some(name) = name else { continue };
                census.near.insert(name.0.to_ascii_lowercase(), name.clone());
                census.names.entry(name).or_default().push(*domid);
            }
        }
        Ok(census)
    }

    /// The one domain that `wanted` stands for, and what the hypervisor said of it. It has a name if it
    /// was found by that.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(&self, wanted: &DomainRef) -> Result<(Domain, DomainInfo), ResolveError> {
        let mut name = None;
        let is_there = |domid: &DomId| self.infos.get(domid).is_some_and(|info| !info.dying);
        let found: Vec<DomId> = match wanted {
            DomainRef::Id(domid) => vec![*domid],
            DomainRef::Same(same) => {
                let is_same = |info: &&DomainInfo| info.identity == *same;
                self.infos
                    .get(&same.domid)
                    .filter(is_same)
                    .map(|_| same.domid)
                    .into_iter()
                    .collect()
            }
            DomainRef::Uuid(uuid) => {
                let mut of = self.uuids.get(uuid).cloned().unwrap_or_default();
                // A guest that was started anew while its dead one still has memory has the same UUID.
                if of.iter().any(is_there) {
                    of.retain(is_there);
                }
                of
            }
            DomainRef::Name(wanted) => {
                name = Some(wanted.clone());
                self.names.get(wanted).cloned().unwrap_or_default()
            }
        };
        let infos = found.iter().filter_map(|domid| self.infos.get(domid));
        match infos.collect::<Vec<_>>()[..] {
            [info] => Ok((Domain { identity: info.identity, name }, *info)),
            [] => {
                let near = name.and_then(|name| self.near.get(&name.0.to_ascii_lowercase()));
                Err(ResolveError::NoSuchDomain { wanted: wanted.clone(), near: near.cloned() })
            }
            _ => Err(ResolveError::Ambiguous { wanted: wanted.clone(), domids: found }),
        }
    }
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
