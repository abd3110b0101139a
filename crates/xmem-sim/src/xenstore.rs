//! xenstore's tree in the [`World`], and transactions on it.

use std::collections::BTreeMap;
use std::iter;

use xen::DomId;
use xen::xenstore::Answer;

use crate::world::World;

/// The longest absolute path (`XENSTORE_ABS_PATH_MAX`, `xs_wire.h`).
const PATH_MAX: usize = 3072;

const DOM0_TARGET: &str = "/local/domain/0/memory/target";

/// What a node is at one moment: its value, if it exists, and the generation of its last change.
type Version = (Option<String>, u64);

impl World {
    /// The value of the node at `path`. A parent without a value of its own is empty.
    pub fn read(&self, path: &str) -> Option<&str> {
        match self.xenstore.get(path) {
            Some(value) => Some(value),
            None if self.below(path).next().is_some() => Some(""),
            None => None,
        }
    }

    /// Writes a node, and makes its parents exist. A write of the same value counts as a change.
    pub fn write(&mut self, path: &str, value: &str) {
        self.generation = self.generation.saturating_add(1);
        if self.read(path).is_none() {
            // A new child changes its parent.
            self.touch_parents(path);
        }
        self.generations.insert(path.to_owned(), self.generation);
        self.xenstore.insert(path.to_owned(), value.to_owned());
        if path == DOM0_TARGET {
            self.dom0.balloon_target_kib = None;
        }
    }

    /// Removes a node and all below it. Its parents stay.
    pub fn remove(&mut self, path: &str) {
        if self.read(path).is_none() {
            return;
        }
        let mut removed: Vec<String> = self.below(path).map(str::to_owned).collect();
        removed.push(path.to_owned());
        for node in removed {
            self.xenstore.remove(&node);
            self.generations.remove(&node);
        }
        self.generation = self.generation.saturating_add(1);
        if let Some(parent) = parent(path) {
            self.generations.insert(parent.to_owned(), self.generation);
            if self.read(parent).is_none() {
                self.xenstore.insert(parent.to_owned(), String::new());
            }
        }
    }

    /// The names of the children of `path`; `None` if it does not exist.
    pub fn list(&self, path: &str) -> Option<Vec<String>> {
        self.read(path)?;
        let start = path.trim_end_matches('/').len().saturating_add(1);
        let names = self.below(path).filter_map(|node| node.get(start..)?.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        Some(names)
    }

    /// The domain that owns `path`, and may write it: the guest itself if it owns its nodes, else dom0.
    pub(crate) fn owner(&self, path: &str) -> u16 {
        let domid = path.strip_prefix("/local/domain/").and_then(|rest| rest.split('/').next());
        let domid = domid.and_then(|domid| domid.parse().ok()).unwrap_or_default();
        if self.domains.get(&domid).is_some_and(|domain| domain.owns_nodes) { domid } else { 0 }
    }

    pub(crate) fn may_write_any(&self, domid: DomId, paths: &[&str]) -> bool {
        paths.iter().any(|path| self.read(path).is_some() && self.owner(path) == domid.get())
    }

    fn touch_parents(&mut self, path: &str) {
        for parent in ancestors(path) {
            let existed = self.read(parent).is_some();
            self.generations.insert(parent.to_owned(), self.generation);
            if existed {
                return;
            }
        }
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let from = self.xenstore.range(prefix.clone()..).map(|(path, _)| path.as_str());
        from.take_while(move |path| path.starts_with(&prefix)).filter(|path| *path != "/")
    }

    fn version(&self, path: &str) -> Version {
        let generation = self.generations.get(path).copied().unwrap_or_default();
        (self.read(path).map(str::to_owned), generation)
    }
}

/// A transaction: what it is to write, over a live tree, and the versions of the nodes that it has used.
///
/// Conflicts follow C xenstored (`xenstored_transaction.c`): reads see the live tree, and a node that the transaction
/// has read or written, and that anybody has changed meanwhile, be it to the same value, fails the commit.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    writes: BTreeMap<String, String>,
    used: BTreeMap<String, Version>,
}

impl Overlay {
    pub(crate) fn read(&mut self, world: &World, path: &str) -> Option<String> {
        self.note(world, path);
        let written_below = |path: &str| {
            let prefix = format!("{path}/");
            self.writes.keys().any(|node| node.starts_with(&prefix))
        };
        self.writes
            .get(path)
            .cloned()
            .or_else(|| world.read(path).map(str::to_owned))
            .or_else(|| written_below(path).then(String::new))
    }

    /// A write looks at the node, or else at each missing parent and the first one that exists.
    pub(crate) fn write(&mut self, world: &World, path: &str, value: &str) {
        for path in iter::once(path).chain(ancestors(path)) {
            self.note(world, path);
            if world.read(path).is_some() {
                break;
            }
        }
        self.writes.insert(path.to_owned(), value.to_owned());
    }

    pub(crate) fn list(&mut self, world: &World, path: &str) -> Option<Vec<String>> {
        self.note(world, path);
        let mut view = world.clone();
        for (path, value) in &self.writes {
            view.write(path, value);
        }
        view.list(path)
    }

    /// Carries out all writes, or none.
    pub(crate) fn commit(&self, world: &mut World) -> Result<(), Answer> {
        if self.used.iter().any(|(path, version)| world.version(path) != *version) {
            return Err(Answer::Again);
        }
        for (path, value) in &self.writes {
            world.write(path, value);
        }
        Ok(())
    }

    fn note(&mut self, world: &World, path: &str) {
        if !self.used.contains_key(path) {
            self.used.insert(path.to_owned(), world.version(path));
        }
    }
}

/// The watches of one connection, and their events.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    paths: Vec<String>,
    /// The world when the events were last collected.
    seen: Option<World>,
    events: Vec<String>,
}

impl Watches {
    /// Adds a watch, which fires at once.
    pub(crate) fn add(&mut self, world: &World, path: &str) {
        self.collect(world);
        self.paths.push(path.to_owned());
        self.events.push(path.to_owned());
    }

    /// Whether there was a watch on `path`.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let before = self.paths.len();
        self.paths.retain(|watched| watched != path);
        self.paths.len() < before
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Compares the world with what it was, and notes the events.
    pub(crate) fn collect(&mut self, world: &World) {
        let seen = match &self.seen {
            Some(seen) if seen == world => return,
            Some(seen) => seen,
            None => return self.seen = Some(world.clone()),
        };
        let both = seen.xenstore.keys().chain(world.xenstore.keys());
        let mut changed: Vec<&str> = both
            .map(String::as_str)
            .filter(|path| seen.version(path) != world.version(path))
            .collect();
        changed
            .sort_by_key(|path| (world.generations.get(*path).copied().unwrap_or(u64::MAX), *path));
        changed.dedup();
        let alive = |world: &World| -> BTreeMap<_, _> {
            let domains = world.domains.iter();
            domains
                .map(|(domid, it)| ((*domid, it.uuid), it.dying || it.shutdown.is_some()))
                .collect()
        };
        let (before, after) = (alive(seen), alive(world));
        if after.keys().any(|domain| !before.contains_key(domain)) {
            changed.push("@introduceDomain");
        }
        // It fires also when a domain stops for good: libxl then looks at why.
        if before.iter().any(|(domain, stopped)| !stopped && after.get(domain) != Some(&false)) {
            changed.push("@releaseDomain");
        }
        changed.retain(|path| self.paths.iter().any(|watched| covers(watched, path)));
        self.events.extend(changed.into_iter().map(str::to_owned));
        self.seen = Some(world.clone());
    }

    pub(crate) fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }
}

/// Whether a watch on `watched` fires for a change of `path`.
fn covers(watched: &str, path: &str) -> bool {
    let rest = path.strip_prefix(watched);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || watched == "/")
}

/// The paths of the parents of `path`, the nearest first, the root last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    iter::successors(parent(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// Whether xenstored accepts `path` as an absolute path.
pub(crate) fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    path == "/"
        || path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains("//")
            && path.len() <= PATH_MAX
            && path.bytes().all(allowed)
}
