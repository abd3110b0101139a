//! A survey that is kept up to date without a request to xenstored while nothing changes there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use xen::hypervisor::DomainInfo;
use xen::xenstore::{Store, StoreError};
use xen::{DomId, Host, Identity};

use super::nodes;
use super::watches::{Changes, Watches};
use super::{Detail, Row, StateFiles, Survey, find, is_doubtful, read_again, row};
use crate::domain::DomainRef;
use crate::failure::Cause;
use crate::memory::{Key, Memory, memory_path};
use crate::resolve::Missing;

/// Domains that come, go, shut down and crash.
const SPECIAL: [&str; 2] = ["@introduceDomain", "@releaseDomain"];

/// A survey that is kept up to date: watches show which domains have changed in xenstore, and only those are read
/// again. The memory that domains hold comes from the hypervisor.
pub struct Monitor<'h> {
    host: &'h dyn Host,
    store: Box<dyn Store>,
    wanted: Vec<DomainRef>,
    detail: Detail,
    watches: Watches,
    /// Whether xenstored lets us set watches. If not, everything is read each time.
    is_watching: bool,
    pending: Changes,
    /// The domains that match `wanted`, as last read.
    seen: BTreeMap<DomId, Memory>,
    /// The domains of the host when names were last resolved.
    resolved: Vec<Identity>,
    missing: Vec<Missing>,
    /// The domains that looked doubtful, and were confirmed to be so.
    confirmed: BTreeSet<Identity>,
}

impl<'h> Monitor<'h> {
    /// Connects to xenstored. Nothing is read before the first [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn new(host: &'h dyn Host, wanted: &[DomainRef], detail: Detail) -> Result<Self, Cause> {
        let mut monitor = Self {
            host,
            store: host.connect()?,
            wanted: wanted.to_vec(),
            detail,
            watches: Watches::default(),
            is_watching: true,
            pending: Changes::default(),
            seen: BTreeMap::new(),
            resolved: Vec::new(),
            missing: Vec::new(),
            confirmed: BTreeSet::new(),
        };
        monitor.watch(&SPECIAL.map(str::to_owned))?;
        Ok(monitor)
    }

    /// Waits until something has changed in xenstore, for `at_most`, and returns whether it has. The memory that
    /// domains hold changes without an event. Sends nothing to xenstored.
    ///
    /// # Errors
    /// The connection to xenstored is over.
    pub fn wait(&mut self, at_most: Duration) -> Result<bool, Cause> {
        if self.pending.is_empty() {
            self.pending = self.watches.changes(&*self.store, at_most)?;
        }
        Ok(!self.pending.is_empty())
    }

    /// The domains as they are now.
    ///
    /// # Errors
    /// xenstore or the hypervisor do not answer.
    pub fn refresh(&mut self) -> Result<Survey, Cause> {
        let mut changes = std::mem::take(&mut self.pending);
        changes.extend(self.watches.changes(&*self.store, Duration::ZERO)?);
        let (infos, is_resolved) = self.find(&changes)?;
        self.forget_all_but(&infos, is_resolved)?;
        let mut stale = Vec::new();
        for info in infos {
            match self.seen.get_mut(&info.identity.domid) {
                Some(seen) if seen.info.identity == info.identity && self.is_watching => {
                    seen.info = info;
                    match Stale::of(&changes, info.identity.domid, self.detail) {
                        Stale::Nothing => {}
                        Stale::Report => {
                            Memory::read_reports(&*self.store, std::slice::from_mut(seen))?;
                        }
                        Stale::Domain => stale.push(info),
                    }
                }
                _ => stale.push(info),
            }
        }
        self.watch(
            &stale
                .iter()
                .flat_map(|info| watched(info.identity.domid, self.detail))
                .collect::<Vec<_>>(),
        )?;
        for seen in nodes::read(&*self.store, &stale, self.detail)? {
            self.seen.insert(seen.domid(), seen);
        }
        let files = StateFiles::of(self.host.state_dir());
        let mut rows =
            self.seen.values().map(|memory| row(self.host, &files, memory.clone())).collect();
        self.confirm(&mut rows)?;
        let missing = self.missing.clone();
        Ok(Survey { rows, host: self.host.hypervisor().host_memory(), missing })
    }

    /// The domains that are wanted. Names are resolved again only if a domain came, went or was renamed. A domain that
    /// was renamed is still wanted. Returns also whether names were resolved.
    fn find(&mut self, changes: &Changes) -> Result<(Vec<DomainInfo>, bool), Cause> {
        let mut seen_before = Vec::new();
        let by_name = self.wanted.iter().any(|wanted| matches!(wanted, DomainRef::Name(_)));
        if by_name {
            let mut infos = self.host.list_domains(&*self.store)?.domains;
            let all: Vec<Identity> = infos.iter().map(|info| info.identity).collect();
            let names: Vec<String> = all.iter().map(|it| Key::Name.path(it.domid)).collect();
            let is_renamed =
                changes.overflow || names.iter().any(|name| changes.of(name).next().is_some());
            if self.is_watching && !is_renamed && self.resolved == all {
                infos.retain(|info| self.seen.contains_key(&info.identity.domid));
                return Ok((infos, false));
            }
            self.resolved = all;
            self.watch(&names)?;
            infos.retain(|info| {
                let seen = self.seen.get(&info.identity.domid);
                seen.is_some_and(|seen| seen.info.identity == info.identity)
            });
            seen_before = infos;
        }
        let found = find(self.host, &*self.store, &self.wanted)?;
        self.missing = found.missing;
        let infos = seen_before.into_iter().chain(found.infos);
        let infos: BTreeMap<DomId, DomainInfo> =
            infos.map(|info| (info.identity.domid, info)).collect();
        Ok((infos.into_values().collect(), by_name))
    }

    /// Drops the domains that are gone, and their watches. After names were `resolved`, the names of unwanted domains
    /// may still be watched.
    fn forget_all_but(&mut self, infos: &[DomainInfo], resolved: bool) -> Result<(), Cause> {
        let there: BTreeSet<DomId> = infos.iter().map(|info| info.identity.domid).collect();
        if !resolved && self.seen.keys().all(|domid| there.contains(domid)) {
            return Ok(());
        }
        self.seen.retain(|domid, _| there.contains(domid));
        self.confirmed.retain(|identity| there.contains(&identity.domid));
        let names = self.resolved.iter().map(|identity| Key::Name.path(identity.domid));
        let keep = there.iter().flat_map(|domid| watched(*domid, self.detail));
        let keep = SPECIAL.map(str::to_owned).into_iter().chain(names).chain(keep).collect();
        Ok(self.watches.keep(&*self.store, &keep)?)
    }

    /// Reads domains again that look doubtful now and did not before: a change may have been made since their
    /// nodes were read.
    fn confirm(&mut self, rows: &mut Vec<Row>) -> Result<(), Cause> {
        let doubtful = |rows: &[Row]| -> BTreeSet<Identity> {
            rows.iter().filter(|row| is_doubtful(row)).map(|row| row.domain.identity).collect()
        };
        let new: Vec<Identity> = doubtful(rows).difference(&self.confirmed).copied().collect();
        read_again(self.host, &*self.store, rows, &new, self.detail)?;
        for row in rows.iter().filter(|row| new.contains(&row.domain.identity)) {
            if let Some(seen) = self.seen.get_mut(&row.domain.identity.domid) {
                seen.clone_from(&row.memory);
            }
        }
        self.confirmed = doubtful(rows);
        Ok(())
    }

    /// Sets watches; if xenstored refuses, everything is read each time.
    fn watch(&mut self, paths: &[String]) -> Result<(), Cause> {
        if !self.is_watching {
            return Ok(());
        }
        match self.watches.set(&*self.store, paths) {
            Err(error @ StoreError::Answered { .. }) => {
                tracing::warn!(%error, "cannot watch xenstore; reading all of it at each refresh");
                self.is_watching = false;
                Ok(())
            }
            set => Ok(set?),
        }
    }
}

impl fmt::Debug for Monitor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// How much of a domain is to be read again.
enum Stale {
    Nothing,
    /// What its guest reports of itself, which can change every second.
    Report,
    Domain,
}

impl Stale {
    fn of(changes: &Changes, domid: DomId, detail: Detail) -> Self {
        if changes.overflow {
            return Self::Domain;
        }
        let reports: Vec<String> = Key::reports(domid).iter().map(|key| key.path(domid)).collect();
        let paths = watched(domid, detail);
        let touched: Vec<&str> = paths.iter().flat_map(|path| changes.of(path)).collect();
        if touched.iter().any(|path| !reports.iter().any(|report| report == path)) {
            Self::Domain
        } else if touched.is_empty() || detail != Detail::Reports {
            Self::Nothing
        } else {
            Self::Report
        }
    }
}

/// What is watched of a domain.
fn watched(domid: DomId, detail: Detail) -> Vec<String> {
    let reports = [Key::ReportedTotal, Key::ReportedFree].map(|key| key.path(domid));
    let has_reports = detail == Detail::Reports && domid != DomId::DOM0;
    let usual = [Key::Name.path(domid), memory_path(domid)];
    usual.into_iter().chain(reports.into_iter().filter(|_| has_reports)).collect()
}
