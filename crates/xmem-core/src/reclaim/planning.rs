//! Finding the donors, and what each can give.

use xen::hypervisor::HypervisorError;
use xen::xenstore::Store;
use xen::{Host, Identity, Kib};

use super::{Donor, DonorSelection, Exclusion, Floor, ReclaimError, ReclaimPlan, ReclaimRequest};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::memory::Memory;
use crate::resolve::DomainIndex;
use crate::size::{Amount, Size};
use crate::state::State;
use crate::survey::{Row, UsedMemory, survey};

/// See [`super::plan_reclaim`].
pub(super) fn plan(
    host: &dyn Host,
    request: &ReclaimRequest,
) -> Result<ReclaimPlan, ReclaimError> {
    let store = host.connect().map_err(|error| failed(None, error.into()))?;
    let donors = match &request.from {
        DonorSelection::Named(names) => {
            let domains = resolve(host, &*store, names)?;
            check_floors(request, &domains)?;
            let rows = look(host, &*store, &identities(&domains)).map_err(|it| failed(None, it))?;
            let donor = |domain: &Domain| {
                let row = rows.iter().find(|row| row.domain.identity == domain.identity);
                row.map(|row| donor(row, request)).ok_or_else(|| failed(Some(domain.clone()), Cause::Gone))
            };
            domains.iter().map(donor).collect::<Result<Vec<_>, _>>()?
        }
        DonorSelection::All => {
            let rows = look(host, &*store, &[]).map_err(|it| failed(None, it))?;
            let donors: Vec<Donor> = rows.iter().map(|row| donor(row, request)).collect();
            let domains: Vec<Domain> = donors.iter().map(|it| it.domain.clone()).collect();
            check_floors(request, &domains)?;
            donors.into_iter().filter(|donor| donor.exclusion.is_none()).collect()
        }
    };
    let available = available(host).map_err(|error| failed(None, error.into()))?;
    let keep_free = request.keep_free.unwrap_or_default();
    let goal = Kib(request.size.0.saturating_add(keep_free.0));
    Ok(ReclaimPlan::new(goal, available, donors, request.priority))
}

/// What the host has available.
pub(super) fn available(host: &dyn Host) -> Result<Kib, HypervisorError> {
    Ok(host.hypervisor().host_memory()?.available())
}

/// Looks at the domains `which`, or at all if it is empty.
pub(super) fn look(
    host: &dyn Host,
    store: &dyn Store,
    which: &[Identity],
) -> Result<Vec<Row>, Cause> {
    let wanted: Vec<DomainRef> = which.iter().copied().map(DomainRef::Same).collect();
    Ok(survey(host, store, &wanted, UsedMemory::Read)?.rows)
}

/// The domains that `names` name, each once.
fn resolve(
    host: &dyn Host,
    store: &dyn Store,
    names: &[DomainRef],
) -> Result<Vec<Domain>, ReclaimError> {
    let index = DomainIndex::read(store, host.hypervisor(), names)
        .map_err(|error| failed(None, error.into()))?;
    let (mut domains, mut failures) = (Vec::<Domain>::new(), Vec::new());
    for name in names {
        match index.find(name) {
            Ok((domain, _)) if domains.iter().any(|it| it.identity == domain.identity) => {}
            Ok((domain, _)) => domains.push(domain),
            Err(error) => failures.push(Failure::unchanged(None, error)),
        }
    }
    if failures.is_empty() { Ok(domains) } else { Err(ReclaimError::Failures(failures)) }
}

fn identities(domains: &[Domain]) -> Vec<Identity> {
    domains.iter().map(|domain| domain.identity).collect()
}

/// Refuses a floor that is relative, or of a domain that gives nothing.
fn check_floors(request: &ReclaimRequest, domains: &[Domain]) -> Result<(), ReclaimError> {
    let sizes = request.floors.iter().map(|(_, size)| size).chain(&request.floor);
    if sizes.into_iter().any(|size| size.amount.is_step()) {
        return Err(ReclaimError::RelativeFloor);
    }
    let stray = request.floors.iter().find(|(name, _)| !domains.iter().any(|it| is(it, name)));
    stray.map_or(Ok(()), |(name, _)| Err(ReclaimError::StrayFloor(name.clone())))
}

fn donor(row: &Row, request: &ReclaimRequest) -> Donor {
    let memory = &row.memory;
    let size = memory.size().unwrap_or(memory.info.current);
    let floor = Floor::of(size, asked_floor(&row.domain, memory, request), row.used);
    let (domain, state, held) = (row.domain.clone(), row.state, memory.info.current);
    Donor { domain, state, held, size, floor, exclusion: exclusion(row) }
}

/// `--floor` of this domain. A share of a maximum that is not known is no floor.
fn asked_floor(domain: &Domain, memory: &Memory, request: &ReclaimRequest) -> Option<Kib> {
    let own = request.floors.iter().rev().find(|(name, _)| is(domain, name)).map(|(_, size)| *size);
    let Size { amount, .. } = own.or(request.floor)?;
    let static_max = memory.static_max.clone().ok().flatten();
    match amount {
        Amount::To(size) => Some(size),
        Amount::Maximum => static_max,
        Amount::Percent(share) => static_max.map(|max| {
            Kib(max.0.saturating_mul(share.into()).div_ceil(100))
        }),
        _ => None,
    }
}

/// Why a domain gives nothing, as it is now.
pub(super) fn exclusion(row: &Row) -> Option<Exclusion> {
    let memory = &row.memory;
    if memory.is_dom0() {
        return Some(Exclusion::Dom0);
    }
    if row.state != State::Running {
        return Some(Exclusion::State(row.state));
    }
    let device_model = memory.device_model_of.map(Exclusion::DeviceModel);
    let managed = memory.manager.map(Exclusion::Managed);
    device_model.or(managed).or_else(|| memory.size().is_none().then_some(Exclusion::NoTarget))
}

fn failed(domain: Option<Domain>, cause: Cause) -> ReclaimError {
    ReclaimError::Failures(vec![Failure::unchanged(domain, cause)])
}

/// Whether `domain` is the one that `wanted` names.
fn is(domain: &crate::domain::Domain, wanted: &DomainRef) -> bool {
    match wanted {
        DomainRef::Id(domid) => domain.identity.domid == *domid,
        DomainRef::Uuid(uuid) => domain.identity.uuid == *uuid,
        DomainRef::Name(name) => domain.name.as_ref() == Some(name),
        DomainRef::Same(identity) => domain.identity == *identity,
    }
}
