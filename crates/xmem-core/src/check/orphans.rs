//! Nodes of domains that do not exist.

use std::collections::BTreeSet;

use xen::xenstore::{Answer, Store, StoreError};
use xen::{DomId, Host};

use super::Finding;
use crate::diagnosis::{Diagnosis, DiagnosisKind, Fix};
use crate::failure::Cause;
use crate::memory::domain_path;

/// The domids in xenstore that no domain has.
pub(super) fn find(host: &dyn Host, store: &dyn Store) -> Result<Vec<Finding>, Cause> {
    let unused = || -> Result<BTreeSet<DomId>, Cause> {
        let mut domids = domids(store)?;
        // dom0 exists whether or not xenstore has it.
        domids.remove(&DomId::DOM0);
        if !domids.is_empty() {
            for info in host.list_domains(store)?.domains {
                domids.remove(&info.identity.domid);
            }
        }
        Ok(domids)
    };
    let first = match unused() {
        // oxenstored cannot list in parts, and the device takes no more than a page.
        Err(Cause::Store(error)) if error.is(&Answer::TooBig) => return Ok(vec![not_listed()]),
        unused => unused?,
    };
    // A domain that was destroyed, or created, between the two reads.
    let orphans = if first.is_empty() { first } else { &first & &unused()? };
    Ok(orphans.into_iter().map(orphan).collect())
}

fn domids(store: &dyn Store) -> Result<BTreeSet<DomId>, StoreError> {
    let names = store.list("/local/domain")?.unwrap_or_default();
    Ok(names.iter().filter_map(|name| DomId::new(name.parse().ok()?)).collect())
}

fn orphan(domid: DomId) -> Finding {
    let path = domain_path(domid);
    let diagnosis = Diagnosis::notice(
        DiagnosisKind::OrphanNodes,
        format!("no such domain, but xenstore has {path}"),
        "left over or written after the domain was destroyed; it uses xenstore space",
    )
    .with_fix(Fix::RemoveNodes(path));
    Finding { domid: Some(domid), domain: None, diagnosis }
}

fn not_listed() -> Finding {
    let diagnosis = Diagnosis::notice(
        DiagnosisKind::NotListed,
        "xenstore has too many domains to list them over this connection",
        "xenstore was not searched for nodes of domains that do not exist",
    )
    .with_fix(Fix::UseSocket);
    Finding { domid: None, domain: None, diagnosis }
}
