//! All of a host's domains with their numbers side by side, and what is off about each.
//!
//! Owns the reading of many domains. Never takes a lock, never waits for one and never changes
//! anything: what it shows can be half of somebody's change.

mod traces;

use std::fs;
use std::path::Path;

use self::traces::Traces;
use crate::domain::{DomId, Domain, Name};
use crate::error::{Cause, chain};
use crate::host::Host;
use crate::hypervisor::{DomainInfo, HostMemory, Hypervisor as _, HypervisorError};
use crate::intent::{Found, IntentFile};
use crate::lock::{self, Standing};
use crate::nodes::{Surveyed, survey};
use crate::plan::Reading;
use crate::remark::{Remark, judge};
use crate::size::Kib;

/// So many domains are asked for at a time: what is kept of the requests and their answers does not grow
/// with the host.
const AT_A_TIME: usize = 1024;

/// A host's domains.
#[derive(Debug)]
pub struct Overview {
    /// One row for each, by domid.
    pub rows: Vec<Row>,
    /// Whether it is not a real host.
    pub simulated: bool,
    /// The host's own memory; an error where the hypervisor does not tell.
    pub memory: Result<HostMemory, HypervisorError>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who it is.
    pub domain: Domain,
    /// What kind of guest.
    pub kind: Kind,
    /// What the hypervisor says.
    pub info: DomainInfo,
    /// `memory/target`.
    pub target: Option<Kib>,
    /// `memory/static-max`.
    pub static_max: Option<Kib>,
    /// `memory/videoram` in KiB.
    pub video: i32,
    /// What is off, the gravest first.
    pub remarks: Vec<Remark>,
}

impl Row {
    /// Its numbers.
    pub const fn reading(&self) -> Reading {
        let Self { info, target, static_max, video, .. } = self;
        Reading { info: *info, target: *target, static_max: *static_max, video: *video }
    }

    /// What is out of step about it. Nothing while somebody holds its lock: half a change looks just so.
    pub fn out_of_step(&self) -> impl Iterator<Item = &Remark> {
        let locked = self.remarks.iter().any(|remark| matches!(remark, Remark::Locked { .. }));
        self.remarks.iter().filter(move |remark| !locked && remark.is_out_of_step())
    }
}

/// The kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtualised.
    Pv,
    /// Paravirtualised in a hardware container.
    Pvh,
    /// Fully virtualised.
    Hvm,
}

impl Kind {
    /// `PV`, `PVH` or `HVM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pv => "PV",
            Self::Pvh => "PVH",
            Self::Hvm => "HVM",
        }
    }
}

/// Looks at every domain of `host`.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub fn overview<H: Host>(host: &H) -> Result<Overview, Cause> {
    look(host, &host.connect()?)
}

/// As [`overview`], over a connection that is there already.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub fn look<H: Host>(host: &H, store: &H::Store) -> Result<Overview, Cause> {
    let infos = host.hypervisor().domains()?;
    let mut surveyed = Vec::with_capacity(infos.len());
    for infos in infos.chunks(AT_A_TIME) {
        surveyed.extend(survey(store, infos)?);
    }
    // After the numbers: while a change is under way that they show half of, its lock is there.
    let traces = Traces::in_folder(host.state_dir());
    let rows = infos
        .into_iter()
        .zip(surveyed)
        .map(|(info, surveyed)| {
            let may_have_any = traces.may_be_of(info.identity.domid);
            row(may_have_any.then(|| host.state_dir()), info, surveyed)
        })
        .collect();
    Ok(Overview { rows, simulated: host.simulated(), memory: host.hypervisor().host_memory() })
}

/// The row of a domain. `state_dir` is where its lock and its record are, if it may have any.
fn row(state_dir: Option<&Path>, info: DomainInfo, surveyed: Surveyed) -> Row {
    let identity = info.identity;
    let kind = match (surveyed.kind.as_deref(), info.hvm) {
        (_, false) => Kind::Pv,
        (Some("pvh"), true) => Kind::Pvh,
        // A dom0 that is not PV is always PVH, and it has no entry.
        (None, true) if identity.domid == DomId::DOM0 => Kind::Pvh,
        (_, true) => Kind::Hvm,
    };
    let mut row = Row {
        domain: Domain { identity, name: surveyed.name.map(Name) },
        kind,
        info,
        target: surveyed.target,
        static_max: surveyed.static_max,
        video: surveyed.video,
        remarks: surveyed.bad.into_iter().map(Remark::BadNode).collect(),
    };
    let mut remarks = judge(&row.reading());
    if !row.remarks.is_empty() {
        // A node with nonsense in it is not missing.
        remarks.retain(|remark| !matches!(remark, Remark::NoKeys | Remark::HalfKeys { .. }));
    }
    row.remarks.extend(remarks);
    if surveyed.dynamic_max {
        row.remarks.push(Remark::Managed("xapi (memory/dynamic-max)"));
    }
    if surveyed.hotplug_max {
        row.remarks.push(Remark::Managed("qmemman (memory/hotplug-max)"));
    }
    if let Some(state_dir) = state_dir {
        // The record first: while it is one of a change that is under way, the lock is held.
        let unsettled = unsettled(&IntentFile::new(state_dir, identity));
        row.remarks.extend(locked(&lock::path(state_dir, identity)).or(unsettled));
    }
    row
}

/// The record of a change, if there is one.
fn unsettled(intent: &IntentFile) -> Option<Remark> {
    let pid = match intent.read() {
        Ok(Found::Nothing) => return None,
        Ok(Found::Intent(intent)) => Some(intent.pid),
        Ok(Found::Foreign { .. }) => None,
        Err(error) => {
            tracing::debug!(error = %chain(&error), "a record cannot be read");
            // One that is not even known to be there is none.
            fs::symlink_metadata(intent.path()).ok()?;
            None
        }
    };
    Some(Remark::Unsettled { path: intent.path().to_owned(), pid })
}

/// Whether somebody holds the lock at `path`. What cannot be looked at is not known to be held, and that is
/// not worth a line.
fn locked(path: &Path) -> Option<Remark> {
    let Standing::Held { holder, since } = lock::standing(path)? else { return None };
    let since = since.and_then(|made| made.elapsed().ok());
    Some(Remark::Locked { holder: Some(holder), since })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Identity, Uuid};

    /// Somebody who may not search the folder; here it is none, since root may search them all.
    #[test]
    fn a_record_that_cannot_be_looked_for_is_none() {
        let no_folder = tempfile::NamedTempFile::new().unwrap();
        let identity = Identity { domid: DomId::DOM0, uuid: Uuid::default() };
        let intent = IntentFile::new(no_folder.path(), identity);
        assert!(intent.read().is_err());
        assert_eq!(unsettled(&intent), None);
    }
}
