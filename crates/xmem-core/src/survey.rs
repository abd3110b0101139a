//! All of a host's domains, or the named ones, with their numbers, states and findings.
//!
//! [`survey`] reads domains once, a [`Monitor`] keeps what it has read up to date. Neither takes a lock or changes anything.

mod files;
mod monitor;
mod nodes;
pub(crate) mod watches;

use std::collections::{BTreeMap, BTreeSet};

use xen::hypervisor::{DomainInfo, HostMemory, HypervisorError};
use xen::xenstore::Store;
use xen::{DomainList, Host, Identity};

pub(crate) use self::files::StateFiles;
pub use self::monitor::Monitor;
use crate::diagnosis::{Diagnosis, DiagnosisKind, Facts, diagnose};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, chain};
use crate::memory::Memory;
pub use crate::memory::{GuestType, Manager};
use crate::resolve::{self, DomainIndex, Missing};
use crate::state::State;

/// The result of a survey.
#[derive(Debug)]
pub struct Survey {
    /// One row for each domain, by domid.
    pub rows: Vec<Row>,
    /// The host's memory, or why it is not known.
    pub host: Result<HostMemory, HypervisorError>,
    /// The domains that were named and do not exist.
    pub missing: Vec<Missing>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The domain.
    pub domain: Domain,
    /// Its state.
    pub state: State,
    /// Its memory.
    pub memory: Memory,
    /// Findings, the gravest first.
    pub findings: Vec<Diagnosis>,
}

impl Row {
    /// Whether its lock is held, so that its numbers were not checked.
    pub fn is_locked(&self) -> bool {
        self.findings.iter().any(|it| matches!(it.kind, DiagnosisKind::Locked(_)))
    }

    /// Whether its numbers were checked: its lock is free, and it is not being built.
    pub fn is_checked(&self) -> bool {
        !self.is_locked() && self.state != State::Building
    }

    /// Whether it is out of step.
    pub fn is_out_of_step(&self) -> bool {
        self.findings.iter().any(Diagnosis::is_out_of_step)
    }
}

/// How much of xenstore is read of each domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Its name, in one request. Its numbers are left empty and not checked: [`Row::findings`] has none, and [`Row::state`]
    /// is what the hypervisor shows.
    Names,
    /// Its target and maximum too, in three requests, or four where video memory can matter: for an HVM guest, and where
    /// the limit is not the one that libxl sets without any. Two findings are missing: a memory manager, and any about
    /// the video memory of a PV or PVH guest.
    Numbers,
    /// Its video memory and its memory manager too, in five requests.
    Findings,
    /// What its guest reports of itself too, in six requests.
    Reports,
}

/// Reads the domains that `wanted` names, or all of them if it is empty. Nothing else is read. A domain that looks out of
/// step is read twice, since a change may have been made during the first reading.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub fn survey(
    host: &dyn Host,
    store: &dyn Store,
    wanted: &[DomainRef],
    detail: Detail,
) -> Result<Survey, Cause> {
    let (mut rows, mut missing) = rows_of(host, store, wanted, detail)?;
    let seen = rows.len();
    confirm(host, store, &mut rows, detail)?;
    if rows.len() < seen {
        missing = missing_of(host, store, wanted)?;
    }
    Ok(Survey { rows, host: host.hypervisor().host_memory(), missing })
}

/// The domains that `wanted` names read once, and those of `wanted` that do not exist.
pub(crate) fn rows_of(
    host: &dyn Host,
    store: &dyn Store,
    wanted: &[DomainRef],
    detail: Detail,
) -> Result<(Vec<Row>, Vec<Missing>), Cause> {
    let Found { infos, missing, refused } = find(host, store, wanted)?;
    if let Some(error) = refused {
        let error = chain(&error);
        tracing::warn!(%error, "domains without a directory in xenstore are missing");
    }
    let read = nodes::read_shared(host, store, &infos, detail)?;
    if detail == Detail::Names {
        return Ok((read.into_iter().map(unchecked).collect(), missing));
    }
    Ok((rows(host, read), missing))
}

/// Those of `wanted` that are not there.
pub(crate) fn missing_of(
    host: &dyn Host,
    store: &dyn Store,
    wanted: &[DomainRef],
) -> Result<Vec<Missing>, Cause> {
    if wanted.is_empty() { Ok(Vec::new()) } else { Ok(find(host, store, wanted)?.missing) }
}

/// The domains to read.
struct Found {
    /// By domid.
    infos: Vec<DomainInfo>,
    /// The domains that were named and do not exist.
    missing: Vec<Missing>,
    /// Why the hypervisor did not list all domains: see [`xen::DomainList`].
    refused: Option<HypervisorError>,
}

/// The domains that `wanted` names. Without names in it, xenstore is asked only if the hypervisor refuses to list.
fn find(host: &dyn Host, store: &dyn Store, wanted: &[DomainRef]) -> Result<Found, Cause> {
    let hypervisor = host.hypervisor();
    if wanted.is_empty() {
        let DomainList { domains: infos, refused } = host.list_domains(store)?;
        return Ok(Found { infos, missing: Vec::new(), refused });
    }
    let by_domid = |wanted: &DomainRef| matches!(wanted, DomainRef::Id(_) | DomainRef::Same(_));
    // A hypercall for each, or one for every 34 of all.
    let index = if wanted.len() <= A_FEW && wanted.iter().all(by_domid) {
        None
    } else {
        Some(DomainIndex::read(host, store, wanted)?)
    };
    let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
    for wanted in wanted {
        let infos: Vec<DomainInfo> = match &index {
            None => resolve::by_domid(hypervisor, wanted)?.into_iter().collect(),
            Some(index) => index.all(wanted).into_iter().copied().collect(),
        };
        if infos.is_empty() {
            missing.push(match &index {
                None => resolve::missing_domid(host, store, wanted),
                Some(index) => index.missing(wanted),
            });
        }
        found.extend(infos.into_iter().map(|info| (info.identity.domid, info)));
    }
    Ok(Found { infos: found.into_values().collect(), missing, refused: None })
}

/// Up to this many domains are queried one by one.
const A_FEW: usize = 4;

/// The rows of domains that were just read.
fn rows(host: &dyn Host, read: Vec<Memory>) -> Vec<Row> {
    // After the numbers: while they show half of a change, its lock is held.
    let files = StateFiles::of(host.state_dir());
    read.into_iter().map(|memory| row(host, &files, memory)).collect()
}

/// The row of a domain of which only the name was read.
fn unchecked(memory: Memory) -> Row {
    let domain = memory.domain();
    let state = State::shown_by(&memory.info);
    Row { domain, state, memory, findings: Vec::new() }
}

/// The row of a domain.
fn row(host: &dyn Host, files: &StateFiles, memory: Memory) -> Row {
    let state = State::on(host, &memory);
    let findings = findings(host, files, &memory, state, false);
    let domain = memory.domain();
    Row { domain, state, memory, findings }
}

/// The findings about the domain of `row` if its guest may write its own memory nodes.
pub(crate) fn findings_if_the_guest_writes(host: &dyn Host, row: &Row) -> Vec<Diagnosis> {
    findings(host, &StateFiles::of(host.state_dir()), &row.memory, row.state, true)
}

fn findings(
    host: &dyn Host,
    files: &StateFiles,
    memory: &Memory,
    state: State,
    guest_writes: bool,
) -> Vec<Diagnosis> {
    let identity = memory.info.identity;
    let (lock, killed) = files.of_domain(identity);
    let may_populate = cfg!(target_arch = "x86_64")
        && matches!(state, State::Running | State::Paused)
        && memory.info.guest_type != GuestType::Pv
        && !memory.is_dom0();
    let facts = Facts {
        state_dir: host.state_dir(),
        dom0: if memory.is_dom0() { host.dom0() } else { xen::Dom0::default() },
        // Whatever its maximum is now: that of its start is not known.
        pod: may_populate.then(|| host.hypervisor().pod(identity.domid).ok()).flatten(),
        // For the fix of this finding alone.
        host: memory.is_above_maximum().then(|| host.hypervisor().host_memory().ok()).flatten(),
        lock,
        killed,
        guest_writes,
    };
    diagnose(memory, state, &facts)
}

/// Reads the doubtful domains again: a real problem is found twice.
fn confirm(
    host: &dyn Host,
    store: &dyn Store,
    rows: &mut Vec<Row>,
    detail: Detail,
) -> Result<(), Cause> {
    let doubtful: Vec<Identity> =
        rows.iter().filter(|row| is_doubtful(row)).map(|row| row.domain.identity).collect();
    read_again(host, store, rows, &doubtful, detail)
}

/// Whether a domain looks out of step, or has no nodes. A domain that is changed or destroyed during the reading does, too;
/// dom0 is never destroyed, and often has none.
fn is_doubtful(row: &Row) -> bool {
    let has_no_keys = row.findings.iter().any(|it| it.kind == DiagnosisKind::NoKeys);
    row.is_out_of_step() || has_no_keys && !row.memory.is_dom0()
}

/// Reads `these` of `rows` again, and keeps the findings of both readings. Domains that went away meanwhile
/// are dropped.
pub(crate) fn read_again(
    host: &dyn Host,
    store: &dyn Store,
    rows: &mut Vec<Row>,
    these: &[Identity],
    detail: Detail,
) -> Result<(), Cause> {
    if these.is_empty() {
        return Ok(());
    }
    let again: Vec<DomainRef> = these.iter().map(|it| DomainRef::Same((*it).into())).collect();
    let infos = find(host, store, &again)?.infos;
    let mut again: BTreeMap<Identity, Row> = self::rows(host, nodes::read(store, &infos, detail)?)
        .into_iter()
        .map(|row| (row.domain.identity, row))
        .collect();
    let these: BTreeSet<Identity> = these.iter().copied().collect();
    rows.retain_mut(|row| {
        if !these.contains(&row.domain.identity) {
            return true;
        }
        let Some(mut now) = again.remove(&row.domain.identity) else { return false };
        let was_seen = |it: &Diagnosis| row.findings.iter().any(|before| before.kind == it.kind);
        now.findings.retain(|it| it.kind.is_about_now() || was_seen(it));
        *row = now;
        true
    });
    Ok(())
}
