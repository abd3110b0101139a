//! xenstore's tree in the [`World`], transactions on it, and watches.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter;

use xen::xenstore::Answer;

use crate::world::World;

/// The longest absolute path (`XENSTORE_ABS_PATH_MAX`, `xs_wire.h`).
const PATH_MAX: usize = 3072;

const DOM0_TARGET: &str = "/local/domain/0/memory/target";

/// A node's value, if it exists, and the generation of its last change.
type Version = (Option<String>, u64);

impl World {
    /// The value of the node at `path`. A parent without a value of its own is empty.
    pub fn read(&self, path: &str) -> Option<&str> {
        let value = self.xenstore.get(path).map(String::as_str);
        value.or_else(|| self.below(path).next().map(|_| ""))
    }

    /// Writes a node, and makes its parents exist. A write of the same value counts as a change.
    pub fn write(&mut self, path: &str, value: &str) {
        self.generation = self.generation.saturating_add(1);
        // A new node changes its parent.
        for node in path_and_parents(path) {
            let existed = self.read(node).is_some();
            self.generations.insert(node.to_owned(), self.generation);
            if existed {
                break;
            }
        }
        self.xenstore.insert(path.to_owned(), value.to_owned());
        if path == DOM0_TARGET {
            self.dom0.balloon_target_kib = None;
        }
    }

    /// Removes a node and all below it. Its parent stays.
    pub fn remove(&mut self, path: &str) {
        let removed: Vec<String> = self.below(path).chain([path]).map(str::to_owned).collect();
        for node in removed {
            self.xenstore.remove(&node);
            self.generations.remove(&node);
        }
        if let Some(parent) = path_and_parents(path).nth(1) {
            let value = self.read(parent).unwrap_or_default().to_owned();
            self.write(parent, &value);
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

    /// The domain that may write the node at `path`, if it exists: the guest, if it owns its nodes, else dom0.
    pub(crate) fn owner(&self, path: &str) -> Option<u16> {
        self.read(path)?;
        let domid = path.strip_prefix("/local/domain/").and_then(|rest| rest.split('/').next());
        let domid = domid.and_then(|domid| domid.parse().ok()).unwrap_or_default();
        let owns = self.domains.get(&domid).is_some_and(|domain| domain.owns_nodes);
        Some(if owns { domid } else { 0 })
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

/// A transaction: its writes, and the versions of the nodes that it has used.
///
/// Conflicts follow C xenstored (`xenstored_transaction.c`): reads see the live tree. The commit fails if a node has
/// changed since the transaction first read or wrote it, even to the same value.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    writes: BTreeMap<String, String>,
    used: BTreeMap<String, Version>,
}

impl Overlay {
    pub(crate) fn read(&mut self, world: &World, path: &str) -> Option<String> {
        self.view(world, path).read(path).map(str::to_owned)
    }

    pub(crate) fn list(&mut self, world: &World, path: &str) -> Option<Vec<String>> {
        self.view(world, path).list(path)
    }

    /// Writes a node. Depends on it, or if it is missing, on each missing parent and the first existing one.
    pub(crate) fn write(&mut self, world: &World, path: &str, value: &str) {
        for node in path_and_parents(path) {
            self.note(world, node);
            if world.read(node).is_some() {
                break;
            }
        }
        self.writes.insert(path.to_owned(), value.to_owned());
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
        self.used.entry(path.to_owned()).or_insert_with(|| world.version(path));
    }

    /// The world as the transaction sees it, to read `path`.
    fn view<'a>(&mut self, world: &'a World, path: &str) -> Cow<'a, World> {
        self.note(world, path);
        let mut view = Cow::Borrowed(world);
        for (path, value) in &self.writes {
            view.to_mut().write(path, value);
        }
        view
    }
}

/// The watches of one connection, and their events.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    paths: Vec<String>,
    /// The world at the last collection of events.
    seen: Option<World>,
    events: Vec<String>,
}

impl Watches {
    /// Adds watches, which fire at once. Each may fire once more for an earlier change.
    pub(crate) fn add(&mut self, world: &World, paths: &[&str]) {
        self.seen.get_or_insert_with(|| world.clone());
        self.paths.extend(paths.iter().copied().map(str::to_owned));
        self.events.extend(paths.iter().copied().map(str::to_owned));
    }

    /// Removes the watches on `paths`.
    pub(crate) fn remove(&mut self, paths: &[&str]) {
        self.paths.retain(|watched| !paths.contains(&watched.as_str()));
    }

    /// Adds the events for all differences since the last call.
    pub(crate) fn collect(&mut self, world: &World) {
        let Some(seen) = self.seen.take_if(|seen| seen != world) else { return };
        let nodes = seen.xenstore.keys().chain(world.xenstore.keys()).map(String::as_str);
        let mut changed: Vec<&str> =
            nodes.filter(|path| seen.version(path) != world.version(path)).collect();
        // In the order of the changes, removed nodes last.
        changed.sort_by_key(|path| (world.generations.get(*path).unwrap_or(&u64::MAX), *path));
        changed.dedup();
        let (before, after) = (stopped(&seen), stopped(world));
        if after.keys().any(|domain| !before.contains_key(domain)) {
            changed.push("@introduceDomain");
        }
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

/// Whether each domain has shut down or is dying: `@releaseDomain` fires for that, too.
fn stopped(world: &World) -> BTreeMap<(u16, xen::Uuid), bool> {
    let domains = world.domains.iter();
    domains.map(|(id, it)| ((*id, it.uuid), it.dying || it.shutdown.is_some())).collect()
}

/// Whether a watch on `watched` fires for a change of `path`.
fn covers(watched: &str, path: &str) -> bool {
    let rest = path.strip_prefix(watched);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || watched == "/")
}

/// `path` and its parents, the root last.
fn path_and_parents(path: &str) -> impl Iterator<Item = &str> {
    let parent = |path: &str| match path.rfind('/')? {
        0 if path == "/" => None,
        end => Some(end.max(1)),
    };
    iter::successors(Some(path), move |path| path.get(..parent(path)?))
}

/// Whether xenstored accepts `path`: a well-formed absolute path, or a special watch path.
pub(crate) fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let is_well_formed = path.starts_with('/') && !path.ends_with('/') && !path.contains("//");
    let is_special = ["/", "@introduceDomain", "@releaseDomain"].contains(&path);
    is_special || is_well_formed && path.len() <= PATH_MAX && path.bytes().all(allowed)
}
