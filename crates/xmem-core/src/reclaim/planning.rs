//! Finding the donors, and the memory that each can give.

use xen::hypervisor::{DomainInfo, HypervisorError};
use xen::xenstore::Store;
use xen::{Host, Identity, Kib};

use super::{Donor, DonorSelection, Exclusion, Floor, ReclaimError, ReclaimPlan, ReclaimRequest};
use crate::diagnosis::DiagnosisKind;
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::memory::Memory;
use crate::plan::{MemoryRequest, draft};
use crate::recovery::Recovery;
use crate::resolve::DomainIndex;
use crate::size::{Amount, Size};
use crate::state::State;
use crate::survey::{Detail, Row, survey};

/// Plans a reclaim. Takes no lock and changes nothing.
///
/// # Errors
/// [`ReclaimError`]. A plan that is not enough is no error here.
pub fn plan_reclaim(
    host: &dyn Host,
    request: &ReclaimRequest,
) -> Result<ReclaimPlan, ReclaimError> {
    let sizes = request.floors.iter().map(|(_, size)| size).chain(&request.floor);
    if sizes.into_iter().any(|size| size.amount.is_step()) {
        return Err(ReclaimError::RelativeFloor);
    }
    let store = host.connect().map_err(|error| failed(None, error))?;
    let names = match &request.from {
        DonorSelection::Named(names) => &**names,
        DonorSelection::All => &[],
    };
    let refs = names.iter().chain(request.floors.iter().map(|(name, _)| name));
    let index = DomainIndex::read(host, &*store, refs).map_err(|error| failed(None, error))?;
    let floors = Floors {
        all: &request.floor,
        single: resolve(&index, request.floors.iter().map(|(name, size)| (name, *size)))?,
    };
    let donors = match &request.from {
        DonorSelection::Named(names) => named(host, &*store, &index, names, &floors)?,
        DonorSelection::All => {
            let rows = read_rows(host, &*store, &[]).map_err(|cause| failed(None, cause))?;
            let donors = rows.iter().map(|row| donor(row, &floors));
            let is_left_out = |exclusion: &Option<Exclusion>| {
                use Exclusion::{Dom0, Managed, State};
                matches!(exclusion, Some(Dom0 | State(_) | Managed(_)))
            };
            donors.filter(|donor| !is_left_out(&donor.exclusion)).collect()
        }
    };
    // With `all`, a domain that has a floor may give nothing now.
    let is_donor = |domain: &Domain| donors.iter().any(|it| it.domain.identity == domain.identity);
    let stray = floors.single.iter().zip(&request.floors).find(|((it, _), _)| !is_donor(it));
    if let (Some((_, (name, _))), DonorSelection::Named(_)) = (stray, &request.from) {
        return Err(ReclaimError::StrayFloor(name.clone()));
    }
    let available = available(host).map_err(|error| failed(None, error))?;
    let keep_free = request.keep_free.unwrap_or_default();
    let goal = Kib(request.size.0.saturating_add(keep_free.0));
    Ok(ReclaimPlan::new(goal, available, donors, request.priority, 0))
}

/// The floors that the user gives.
struct Floors<'a> {
    all: &'a [Size],
    single: Vec<(Domain, Size)>,
}

impl Floors<'_> {
    /// The floor of a domain: the largest of its own, or else of those for all. A share of an unknown maximum is no
    /// floor.
    fn of(&self, identity: Identity, memory: &Memory) -> Option<Kib> {
        let static_max = memory.static_max.clone().ok().flatten();
        let kib = |size: &Size| match size.amount {
            Amount::To(size) => Some(size),
            Amount::Maximum => static_max,
            Amount::Percent(percent) => {
                static_max.map(|max| Kib(max.0.saturating_mul(percent.into()).div_ceil(100)))
            }
            Amount::Target(_) | Amount::Up(_) | Amount::Down(_) => None,
        };
        let own = self.single.iter().filter(|(domain, _)| domain.identity == identity);
        let own = own.filter_map(|(_, size)| kib(size)).max();
        own.or_else(|| self.all.iter().filter_map(kib).max())
    }
}

/// The donors in `names`, in their order, each once.
fn named(
    host: &dyn Host,
    store: &dyn Store,
    index: &DomainIndex,
    names: &[DomainRef],
    floors: &Floors<'_>,
) -> Result<Vec<Donor>, ReclaimError> {
    let mut domains: Vec<Domain> = Vec::new();
    for (domain, ()) in resolve(index, names.iter().map(|name| (name, ())))? {
        if !domains.iter().any(|earlier| earlier.identity == domain.identity) {
            domains.push(domain);
        }
    }
    if domains.is_empty() {
        return Ok(Vec::new());
    }
    let identities: Vec<Identity> = domains.iter().map(|domain| domain.identity).collect();
    let rows = read_rows(host, store, &identities).map_err(|cause| failed(None, cause))?;
    let donor = |domain: Domain| {
        let row = rows.iter().find(|row| row.domain.identity == domain.identity);
        row.map(|row| donor(row, floors)).ok_or_else(|| failed(Some(domain), Cause::Gone))
    };
    domains.into_iter().map(donor).collect()
}

/// Finds the domains of all `names`, or reports all that cannot be found.
fn resolve<'a, T>(
    index: &DomainIndex,
    names: impl Iterator<Item = (&'a DomainRef, T)>,
) -> Result<Vec<(Domain, T)>, ReclaimError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (name, with) in names {
        match index.find(name) {
            Ok((domain, _)) => found.push((domain, with)),
            Err(error) => failures.push(Failure::unchanged(None, error)),
        }
    }
    if failures.is_empty() { Ok(found) } else { Err(ReclaimError::Failures(failures)) }
}

/// The host's available memory.
pub(super) fn available(host: &dyn Host) -> Result<Kib, HypervisorError> {
    Ok(host.hypervisor().host_memory()?.available())
}

/// Reads the domains `which`, or all if it is empty.
pub(super) fn read_rows(
    host: &dyn Host,
    store: &dyn Store,
    which: &[Identity],
) -> Result<Vec<Row>, Cause> {
    let wanted: Vec<DomainRef> = which.iter().map(|it| DomainRef::Same((*it).into())).collect();
    Ok(survey(host, store, &wanted, Detail::Reports)?.rows)
}

fn donor(row: &Row, floors: &Floors<'_>) -> Donor {
    let memory = &row.memory;
    let size = memory.size().unwrap_or(memory.info.current);
    let asked = floors.of(row.domain.identity, memory);
    let floor = Floor::of(size, memory.video_memory(), asked, memory.used());
    let DomainInfo { current: held, limit, .. } = memory.info;
    let (domain, state) = (row.domain.clone(), row.state);
    let recovery = row.findings.iter().find_map(|finding| match &finding.kind {
        DiagnosisKind::InterruptedChange { record, .. } => Some(Recovery::Pending(record.clone())),
        _ => None,
    });
    Donor { domain, state, held, size, limit, floor, exclusion: exclusion(row), recovery }
}

/// The reason why a domain gives nothing now.
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
    let is_populating = row.findings.iter().any(|it| it.kind == DiagnosisKind::Populating);
    let populating = is_populating.then_some(Exclusion::Populating);
    let same_size = MemoryRequest::Set {
        size: Size::exact(Amount::To(memory.size().unwrap_or_default())),
        raise_max: false,
        force: false,
    };
    let refused = || draft(memory, &same_size).err().map(Exclusion::Refused);
    device_model.or(managed).or(populating).or_else(refused)
}

fn failed(domain: Option<Domain>, cause: impl Into<Cause>) -> ReclaimError {
    ReclaimError::Failures(vec![Failure::unchanged(domain, cause)])
}
