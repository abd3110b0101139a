//! Finding the domain that a user names.
//!
//! The hypervisor decides which domains exist; xenstore only has their names.

mod similar;

use std::collections::BTreeMap;

use xen::hypervisor::{DomainInfo, Hypervisor, HypervisorError};
use xen::xenstore::{Nodes, StoreError};
use xen::{DomId, Host, Identity, Uuid};

pub use self::similar::is_one_letter_off;
use self::similar::similar;
use crate::domain::{Domain, DomainRef, Name};
use crate::memory::Key;
use crate::state::incoming_name;

/// The reason why a domain was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is none.
    #[error("there is no {} on this host", domain(wanted))]
    NoSuchDomain {
        /// The name as given.
        wanted: DomainRef,
        /// A domain with a similar name.
        similar: Option<Name>,
    },
    /// There are several.
    #[error("{wanted} names several domains: {}", list(domids))]
    Ambiguous {
        /// The name as given.
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

/// A name without a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name as given.
    pub wanted: DomainRef,
    /// A domain with a similar name.
    pub similar: Option<Name>,
}

impl From<Missing> for ResolveError {
    fn from(Missing { wanted, similar }: Missing) -> Self {
        Self::NoSuchDomain { wanted, similar }
    }
}

/// The domain that was looked for: by domid, by name, or by UUID.
fn domain(wanted: &DomainRef) -> String {
    match wanted {
        DomainRef::Name(_) => format!("domain {wanted}"),
        DomainRef::Uuid(_) => format!("domain with {wanted}"),
        DomainRef::Id(_) | DomainRef::Same(_) => wanted.to_string(),
    }
}

fn list(domids: &[DomId]) -> String {
    domids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Finds the single domain that `wanted` names. It has a name only if `wanted` has it.
///
/// # Errors
/// There is none, there are several, or the host does not answer.
pub fn resolve(
    host: &dyn Host,
    nodes: &dyn Nodes,
    wanted: &DomainRef,
) -> Result<Domain, ResolveError> {
    if matches!(wanted, DomainRef::Uuid(_) | DomainRef::Name(_)) {
        let index = DomainIndex::read(host, nodes, [wanted])?;
        return index.find(wanted).map(|(domain, _)| domain);
    }
    let info = by_domid(host.hypervisor(), wanted)?;
    info.map(|info| named(info.identity, wanted))
        .ok_or_else(|| missing_domid(host, nodes, wanted).into())
}

/// `wanted`, a domid that no domain has. A domain can have that number as its name.
pub(crate) fn missing_domid(host: &dyn Host, nodes: &dyn Nodes, wanted: &DomainRef) -> Missing {
    let named = || {
        let DomainRef::Id(domid) = wanted else { return None };
        let name = DomainRef::Name(Name(domid.to_string()));
        DomainIndex::read(host, nodes, [&name]).ok()
    };
    match named() {
        Some(index) => index.missing(wanted),
        None => Missing { wanted: wanted.clone(), similar: None },
    }
}

/// The domain `identity`, with the name that `wanted` has.
fn named(identity: Identity, wanted: &DomainRef) -> Domain {
    let name = match wanted {
        DomainRef::Name(name) => Some(name.clone()),
        DomainRef::Same(same) => same.name.clone(),
        DomainRef::Id(_) | DomainRef::Uuid(_) => None,
    };
    Domain { identity, name }
}

/// The domain that `wanted` names by its domid: one hypercall. `None` for a UUID or a name.
pub(crate) fn by_domid(
    hypervisor: &dyn Hypervisor,
    wanted: &DomainRef,
) -> Result<Option<DomainInfo>, HypervisorError> {
    match wanted {
        DomainRef::Id(domid) => hypervisor.domain(*domid),
        DomainRef::Same(same) => {
            let info = hypervisor.domain(same.identity.domid)?;
            Ok(info.filter(|info| info.identity == same.identity))
        }
        DomainRef::Uuid(_) | DomainRef::Name(_) => Ok(None),
    }
}

/// A domain with the name or the UUID of `gone` that exists now: the same guest after a reboot or a migration.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub(crate) fn successor(
    host: &dyn Host,
    nodes: &dyn Nodes,
    gone: &Domain,
) -> Result<Option<DomId>, ResolveError> {
    let name = gone.name.clone().map(DomainRef::Name);
    // A nil UUID is shared by many.
    let uuid = Some(gone.identity.uuid).filter(|uuid| !uuid.is_nil()).map(DomainRef::Uuid);
    let refs: Vec<DomainRef> = name.into_iter().chain(uuid).collect();
    let index = DomainIndex::read(host, nodes, &refs)?;
    let found = refs.iter().flat_map(|wanted| index.all(wanted));
    let mut others = found.filter(|info| !info.dying && info.identity != gone.identity);
    Ok(others.next().map(|info| info.identity.domid))
}

/// All domains of a host, read once, to find any number of them.
#[derive(Debug, Default)]
pub struct DomainIndex {
    infos: BTreeMap<DomId, DomainInfo>,
    uuids: BTreeMap<Uuid, Vec<DomId>>,
    names: BTreeMap<Name, Vec<DomId>>,
}

impl DomainIndex {
    /// Reads all domains, and their names if one of `wanted` is a name. If the hypervisor refuses to list them, a domain
    /// without a directory in xenstore is missing.
    ///
    /// # Errors
    /// xenstore or the hypervisor do not answer.
    pub fn read<'a>(
        host: &dyn Host,
        nodes: &dyn Nodes,
        wanted: impl IntoIterator<Item = &'a DomainRef>,
    ) -> Result<Self, ResolveError> {
        let mut index = Self::default();
        for info in host.list_domains(nodes)?.domains {
            let Identity { domid, uuid } = info.identity;
            index.uuids.entry(uuid).or_default().push(domid);
            index.infos.insert(domid, info);
        }
        if wanted.into_iter().any(|wanted| matches!(wanted, DomainRef::Name(_))) {
            let identities: Vec<Identity> =
                index.infos.values().map(|info| info.identity).collect();
            for (identity, name) in identities.iter().zip(names(nodes, &identities)?) {
                if let Some(name) = name {
                    index.names.entry(name).or_default().push(identity.domid);
                }
            }
        }
        Ok(index)
    }

    /// The single domain that `wanted` names. It has a name only if `wanted` has it.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(&self, wanted: &DomainRef) -> Result<(Domain, DomainInfo), ResolveError> {
        match self.all(wanted)[..] {
            [info] => Ok((named(info.identity, wanted), *info)),
            [] => Err(self.missing(wanted).into()),
            ref several => {
                let domids = several.iter().map(|info| info.identity.domid).collect();
                Err(ResolveError::Ambiguous { wanted: wanted.clone(), domids })
            }
        }
    }

    /// `wanted`, which names no domain.
    pub(crate) fn missing(&self, wanted: &DomainRef) -> Missing {
        let dom0 = self.names.iter().find(|(_, domids)| domids.contains(&DomId::DOM0));
        let similar = match wanted {
            DomainRef::Name(name) => similar(name, self.names.keys(), dom0.map(|(name, _)| name)),
            DomainRef::Id(domid) => self.names.keys().find(|name| name.0 == domid.to_string()),
            DomainRef::Same(_) | DomainRef::Uuid(_) => None,
        };
        Missing { wanted: wanted.clone(), similar: similar.cloned() }
    }

    /// All domains that `wanted` names.
    pub(crate) fn all(&self, wanted: &DomainRef) -> Vec<&DomainInfo> {
        let by_domid = |domids: &[DomId]| -> Vec<&DomainInfo> {
            domids.iter().filter_map(|domid| self.infos.get(domid)).collect()
        };
        match wanted {
            DomainRef::Id(domid) => by_domid(&[*domid]),
            DomainRef::Same(same) => {
                let mut found = by_domid(&[same.identity.domid]);
                found.retain(|info| info.identity == same.identity);
                found
            }
            DomainRef::Uuid(uuid) => {
                let mut found = by_domid(self.uuids.get(uuid).map_or(&[], Vec::as_slice));
                // A guest that was started again has the UUID of its dead predecessor, whose memory is still in use.
                if found.iter().any(|info| !info.dying) {
                    found.retain(|info| !info.dying);
                }
                found
            }
            DomainRef::Name(name) => by_domid(self.names.get(name).map_or(&[], Vec::as_slice)),
        }
    }

    /// The domain that receives the domain `name`, if that is being migrated to this very host. Known only if the names
    /// were read.
    pub(crate) fn receiver_of(&self, name: &Name) -> Option<DomId> {
        self.names.get(&incoming_name(name))?.first().copied()
    }
}

/// The name of each of `identities`; `None` if there is none, or it is not text.
///
/// # Errors
/// xenstore does not answer.
pub(crate) fn names(
    nodes: &dyn Nodes,
    identities: &[Identity],
) -> Result<Vec<Option<Name>>, StoreError> {
    let paths: Vec<String> =
        identities.iter().map(|identity| Key::Name.path(identity.domid)).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let name = |value: Option<Vec<u8>>| Name::of(std::str::from_utf8(&value?).ok()?);
    Ok(nodes.read_each(&paths)?.into_iter().map(name).collect())
}

#[cfg(test)]
mod tests;
