//! Watches on many nodes over one connection. They show which nodes have changed, without a request to xenstored.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use xen::xenstore::{Store, StoreError};

/// How many watches are set in one batch. Each fires once when it is set, and a connection keeps about 1,000 events.
const AT_A_TIME: usize = 256;
/// With this many events at once, older ones may have been dropped.
const MANY: usize = 1000;

/// The paths that have changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Every path that a watch has fired for.
    pub paths: BTreeSet<String>,
    /// Some may be missing: more events came than a connection keeps.
    pub overflow: bool,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.overflow
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.paths.extend(other.paths);
        self.overflow |= other.overflow;
    }

    /// Those that concern a watch on `path`: at, below or, where a whole directory was removed, above it.
    pub(crate) fn of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let from = (Bound::Included(path), Bound::Unbounded);
        let below = self.paths.range::<str, _>(from).take_while(move |it| it.starts_with(path));
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        let is_in = move |it: &&str| {
            it.get(path.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        below.map(String::as_str).filter(is_in).chain(parents.filter(|it| self.paths.contains(*it)))
    }
}

/// The watches of one connection.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    set: BTreeSet<String>,
    /// Watches that have not fired yet. Each fires once when it is set.
    unfired: BTreeSet<String>,
    /// Changes that were seen while watches were set.
    early: Changes,
}

impl Watches {
    /// Sets those of `paths` that are not set yet. What they point to must be read afterwards.
    ///
    /// # Errors
    /// xenstored refuses, or does not answer.
    pub(crate) fn set(&mut self, store: &dyn Store, paths: &[String]) -> Result<(), StoreError> {
        let new: Vec<&str> =
            paths.iter().filter(|path| !self.set.contains(*path)).map(String::as_str).collect();
        for some in new.chunks(AT_A_TIME) {
            store.watch(some)?;
            for path in some {
                self.set.insert((*path).to_owned());
                self.unfired.insert((*path).to_owned());
            }
            let seen = self.fired(store, Duration::ZERO)?;
            self.early.extend(seen);
        }
        Ok(())
    }

    /// Takes back all watches but those on `paths`.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(crate) fn keep(
        &mut self,
        store: &dyn Store,
        paths: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let gone: Vec<String> = self.set.difference(paths).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        store.unwatch(&gone.iter().map(String::as_str).collect::<Vec<_>>())?;
        for path in gone {
            self.set.remove(&path);
            self.unfired.remove(&path);
        }
        Ok(())
    }

    /// What has changed since the last call. Waits for a change for `wait` at most; sends nothing to xenstored.
    ///
    /// # Errors
    /// The connection has failed.
    pub(crate) fn changes(
        &mut self,
        store: &dyn Store,
        wait: Duration,
    ) -> Result<Changes, StoreError> {
        let early = std::mem::take(&mut self.early);
        let wait = if early.is_empty() { wait } else { Duration::ZERO };
        let mut seen = self.fired(store, wait)?;
        seen.extend(early);
        // What the watches point to has been read since they were set, so all of them have fired.
        self.unfired.clear();
        Ok(seen)
    }

    fn fired(&mut self, store: &dyn Store, mut wait: Duration) -> Result<Changes, StoreError> {
        let mut seen = Changes::default();
        loop {
            let events = store.changes(std::mem::take(&mut wait))?;
            if events.is_empty() {
                return Ok(seen);
            }
            seen.overflow |= events.len() >= MANY;
            seen.paths.extend(events.into_iter().filter(|path| !self.unfired.remove(path)));
        }
    }
}
