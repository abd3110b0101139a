//! xenstore's tree of nodes, with the generations by which conflicts are found.
//!
//! Owns what each request does to the tree, as xenstored documents it (docs/misc/xenstore.txt), and which
//! nodes were touched. Never knows of a file, a process or a transaction.

use std::collections::{BTreeMap, BTreeSet};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::xenstore::Answer;

/// The longest absolute path (`XENSTORE_ABS_PATH_MAX`, `xs_wire.h`).
const LONGEST_PATH: usize = 3072;

/// One node: its value, and when it was last changed. A new or removed child changes it as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) value: String,
    pub(super) generation: u64,
}

/// All nodes by path. Every node's parent is there, except for a tree without any node.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Each transaction takes a copy, which shares all that is the same.
    nodes: RedBlackTreeMapSync<String, Node>,
    /// The generation of the youngest change ever made.
    generation: u64,
    /// The paths at which something has changed since the changes were last taken.
    touched: BTreeSet<String>,
}

/// The same nodes, as young.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation && self.nodes == other.nodes
    }
}

impl Eq for Tree {}

impl Tree {
    /// A tree of `values` by path, with their missing parents. A node without a generation is as old
    /// as can be; `generation` is made no less than that of the youngest.
    pub(super) fn new(
        values: impl IntoIterator<Item = (String, String)>,
        generations: &BTreeMap<String, u64>,
        generation: u64,
    ) -> Self {
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        for (path, value) in values {
            for parent in ancestors(&path) {
                // Where one is there, those above it are.
                if nodes.contains_key(parent) {
                    break;
                }
                nodes.insert(parent.to_owned(), Node::default());
            }
            nodes.entry(path).or_default().value = value;
        }
        for (path, generation) in generations {
            if let Some(node) = nodes.get_mut(path) {
                node.generation = *generation;
            }
        }
        let youngest = nodes.values().map(|node| node.generation).max().unwrap_or(0);
        let generation = generation.max(youngest);
        Self { nodes: nodes.into_iter().collect(), generation, touched: BTreeSet::new() }
    }

    /// The generation of the youngest change ever made.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Every node with its path.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The node at `path`.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The value of the node at `path`, if there is one.
    pub(super) fn value(&self, path: &str) -> Option<&str> {
        self.get(path).map(|node| node.value.as_str())
    }

    /// The paths below `path`, however deep.
    pub(super) fn below<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        self.nodes
            .range(prefix.clone()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&prefix))
            .filter(|path| *path != "/")
    }

    /// READ.
    pub(super) fn read(&self, path: &str) -> Result<&str, Answer> {
        self.value(path).ok_or(Answer::NotFound)
    }

    /// DIRECTORY: the names of the node's children.
    pub(super) fn directory(&self, path: &str) -> Result<Vec<Box<str>>, Answer> {
        if self.get(path).is_none() {
            return Err(Answer::NotFound);
        }
        let children = self.below(path).filter(|child| parent(child) == Some(path));
        Ok(children.filter_map(|child| child.rsplit('/').next()).map(Box::from).collect())
    }

    /// WRITE: missing parents are made.
    pub(super) fn write(&mut self, path: &str, value: &str) {
        let generation = self.next_generation();
        let mut changed = vec![path];
        if self.get(path).is_none() {
            // Up to the first node that is there: it gets a new child, which changes it.
            for parent in ancestors(path) {
                changed.push(parent);
                if self.get(parent).is_some() {
                    break;
                }
            }
        }
        for path in changed {
            if self.get(path).is_none() {
                self.nodes.insert_mut(path.to_owned(), Node::default());
            }
            self.age(path, generation);
        }
        if let Some(node) = self.nodes.get_mut(path) {
            value.clone_into(&mut node.value);
        }
    }

    /// RM: everything below goes as well. A node that is not there is fine if its parent is.
    pub(super) fn rm(&mut self, path: &str) -> Result<(), Answer> {
        let Some(parent) = parent(path) else {
            return Err(invalid());
        };
        if self.get(parent).is_none() {
            return Err(Answer::NotFound);
        }
        if self.get(path).is_some() {
            let doomed: Vec<String> = self.below(path).map(str::to_owned).collect();
            let generation = self.next_generation();
            for path in doomed.into_iter().chain([path.to_owned()]) {
                self.nodes.remove_mut(&path);
                self.touched.insert(path);
            }
            self.age(parent, generation);
        }
        Ok(())
    }

    /// The node at `path` has changed just now.
    fn age(&mut self, path: &str, generation: u64) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.generation = generation;
            self.touched.insert(path.to_owned());
        }
    }

    /// The paths at which something has changed since the changes were last taken.
    pub(super) fn touched(&self) -> impl Iterator<Item = &str> {
        self.touched.iter().map(String::as_str)
    }

    /// What has changed since this was last called, as it is now: a node, or that there is none.
    pub(super) fn take_changed(&mut self) -> BTreeMap<String, Option<Node>> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        touched
            .map(|path| (self.get(&path).cloned(), path))
            .map(|(node, path)| (path, node))
            .collect()
    }

    /// Makes a node what somebody else has made it.
    pub(super) fn put(&mut self, path: String, node: Option<Node>) {
        match node {
            Some(node) => {
                self.generation = self.generation.max(node.generation);
                self.nodes.insert_mut(path, node);
            }
            None => {
                self.nodes.remove_mut(&path);
            }
        }
    }

    const fn next_generation(&mut self) -> u64 {
        self.generation = self.generation.saturating_add(1);
        self.generation
    }
}

/// xenstored's word for a path that cannot be.
pub(super) fn invalid() -> Answer {
    Answer::named("EINVAL")
}

/// The node that `path` is a child of; none for the root.
pub(super) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((parent, _)) => Some(parent),
    }
}

/// The parent of `path`, its parent, and so on to the root.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

/// Why `path` cannot be an absolute path, if so (xenstored's `is_valid_nodename`).
pub(super) fn path_flaw(path: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    if !path.starts_with('/') {
        Some("a path starts with /")
    } else if path.len() > 1 && path.ends_with('/') {
        Some("a path does not end with /")
    } else if path.contains("//") {
        Some("a path has no empty name in it")
    } else if !path.bytes().all(allowed) {
        Some("a path is of letters, digits, and - / _ @")
    } else if path.len() > LONGEST_PATH {
        Some("a path is not longer than 3072 bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        Tree::new(paths.iter().map(|path| ((*path).to_owned(), String::new())), &BTreeMap::new(), 0)
    }

    #[test]
    fn parents_are_always_there() {
        let mut tree = tree(&["/a/b/c"]);
        assert_eq!(
            tree.nodes().map(|(path, _)| path).collect::<Vec<_>>(),
            ["/", "/a", "/a/b", "/a/b/c"]
        );
        tree.write("/x/y", "1");
        assert_eq!((tree.read("/x"), tree.read("/x/y")), (Ok(""), Ok("1")));
        assert_eq!(tree.directory("/"), Ok(vec!["a".into(), "x".into()]));
    }

    #[test]
    fn a_listing_names_children_and_nothing_deeper() {
        let tree = tree(&["/a/b/c", "/a/d", "/a-b", "/ab"]);
        assert_eq!(tree.directory("/a"), Ok(vec!["b".into(), "d".into()]));
        assert_eq!(tree.directory("/a/d"), Ok(vec![]));
        assert_eq!(tree.directory("/a/e"), Err(Answer::NotFound));
    }

    #[test]
    fn a_removal_takes_all_below_and_nothing_beside() {
        let mut tree = tree(&["/a/b/c", "/a/b-c", "/a/bc"]);
        assert_eq!(tree.rm("/a/b"), Ok(()));
        assert_eq!(tree.directory("/a"), Ok(vec!["b-c".into(), "bc".into()]));
        assert_eq!(tree.read("/a/b/c"), Err(Answer::NotFound));
    }

    #[test]
    fn removing_nothing_is_fine_where_it_could_have_been() {
        let mut tree = tree(&["/a"]);
        let before = tree.clone();
        assert_eq!(tree.rm("/a/b"), Ok(()));
        assert_eq!(tree.rm("/a/b/c"), Err(Answer::NotFound));
        assert_eq!(tree.rm("/"), Err(invalid()));
        assert_eq!(tree, before);
    }

    #[test]
    fn a_change_shows_in_the_generation_of_what_it_changed() {
        let mut tree = tree(&["/a/b", "/a/c"]);
        let of = |tree: &Tree, path: &str| tree.get(path).unwrap().generation;
        tree.write("/a/b", "1");
        assert_eq!((of(&tree, "/a/b"), of(&tree, "/a"), of(&tree, "/a/c")), (1, 0, 0));
        tree.write("/a/b", "1");
        assert_eq!(of(&tree, "/a/b"), 2, "the same value again is a change");
        tree.write("/a/d/e", "1");
        assert_eq!((of(&tree, "/a/d"), of(&tree, "/a"), of(&tree, "/")), (3, 3, 0));
        tree.rm("/a/c").unwrap();
        assert_eq!((of(&tree, "/a"), tree.generation()), (4, 4));
    }

    #[test]
    fn paths() {
        for good in ["/", "/a", "/local/domain/7/memory/target", "/A-z_@9"] {
            assert_eq!(path_flaw(good), None, "{good}");
        }
        for bad in ["", "a", "a/b", "/a/", "//", "/a//b", "/ü", "/a b", "/a.b", "/a\0"] {
            assert!(path_flaw(bad).is_some(), "{bad:?}");
        }
        assert!(path_flaw(&format!("/{}", "a".repeat(LONGEST_PATH))).is_some());
    }
}
