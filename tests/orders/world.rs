//! One domain, as xenstored and the hypervisor have it, as plain data.
//!
//! Owns what each request does to it. Transactions follow xenstored: a snapshot at the start, and no
//! commit if a node that was read or written has been changed meanwhile, be it to the same value.

use std::collections::{BTreeMap, BTreeSet};

use xmem::domain::{DomId, Identity, Uuid};
use xmem::hypervisor::DomainInfo;
use xmem::size::Kib;

const DOMID: u32 = 7;
const TARGET: &str = "/local/domain/7/memory/target";
const STATIC_MAX: &str = "/local/domain/7/memory/static-max";

/// Target, static-max and limit, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numbers {
    pub(crate) target: u64,
    pub(crate) static_max: u64,
    pub(crate) limit: u64,
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [target, max, limit] =
            [self.target, self.static_max, self.limit].map(|kib| Kib(kib).to_string());
        write!(f, "target {target}, static-max {max}, limit {limit}")
    }
}

/// All there is.
#[derive(Clone)]
pub(crate) struct World {
    tree: Tree,
    limit: Kib,
}

/// Values by path, each with the time of its last change.
#[derive(Clone)]
struct Tree {
    nodes: BTreeMap<String, (String, u64)>,
    now: u64,
}

impl World {
    /// A PVH guest with 4 of at most 8 GiB.
    pub(crate) fn new() -> Self {
        let gib = |gib: u64| (gib << 20).to_string();
        let nodes = [
            ("/local/domain/7/name", "web".to_owned()),
            (TARGET, gib(4)),
            (STATIC_MAX, gib(8)),
            ("/local/domain/7/memory/videoram", "0".to_owned()),
        ];
        let nodes = nodes.map(|(path, value)| (path.to_owned(), (value, 0)));
        Self { tree: Tree { nodes: nodes.into(), now: 0 }, limit: Kib((4 << 20) + 1024) }
    }

    pub(crate) fn numbers(&self) -> Numbers {
        let kib = |path| self.read(path).unwrap().parse().unwrap();
        Numbers { target: kib(TARGET), static_max: kib(STATIC_MAX), limit: self.limit.0 }
    }

    pub(crate) fn identity() -> Identity {
        Identity { domid: DomId::new(DOMID).unwrap(), uuid: Uuid([7; 16]) }
    }

    pub(crate) fn info(&self) -> DomainInfo {
        DomainInfo {
            identity: Self::identity(),
            dying: false,
            paused: false,
            hvm: true,
            current: Kib(4 << 20),
            limit: self.limit,
            outstanding: Kib(0),
        }
    }

    pub(crate) const fn set_limit(&mut self, limit: Kib) {
        self.limit = limit;
    }

    pub(crate) fn read(&self, path: &str) -> Option<Box<str>> {
        Some(self.tree.nodes.get(path)?.0.as_str().into())
    }

    pub(crate) fn start(&self) -> Transaction {
        let start = self.tree.clone();
        Transaction { view: start.clone(), start, seen: BTreeSet::new(), writes: Vec::new() }
    }

    /// Does all that `transaction` wrote, or none of it. Whether it did.
    pub(crate) fn commit(&mut self, transaction: &Transaction) -> bool {
        let Transaction { start, seen, writes, .. } = transaction;
        if seen.iter().any(|path| start.nodes.get(path) != self.tree.nodes.get(path)) {
            return false;
        }
        for (path, value) in writes {
            self.tree.write(path, value);
        }
        true
    }
}

impl Tree {
    fn write(&mut self, path: &str, value: &str) {
        self.now += 1;
        self.nodes.insert(path.to_owned(), (value.to_owned(), self.now));
    }
}

/// What a transaction has seen and done.
#[derive(Clone)]
pub(crate) struct Transaction {
    start: Tree,
    view: Tree,
    seen: BTreeSet<String>,
    writes: Vec<(String, String)>,
}

impl Transaction {
    pub(crate) fn read(&mut self, path: &str) -> Option<Box<str>> {
        self.seen.insert(path.to_owned());
        Some(self.view.nodes.get(path)?.0.as_str().into())
    }

    pub(crate) fn write(&mut self, path: &str, value: &str) {
        self.seen.insert(path.to_owned());
        self.view.write(path, value);
        self.writes.push((path.to_owned(), value.to_owned()));
    }
}
