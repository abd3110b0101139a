//! A domain's memory as xenstore and the hypervisor show it: the nodes' paths, their values, what they mean.

use std::fmt;

use serde::{Deserialize, Serialize};
use xen::hypervisor::DomainInfo;
use xen::xenstore::{Nodes, StoreError};
use xen::{DomId, Identity, Kib};

use crate::domain::Name;

/// A node's value: `None` if it does not exist, an error if it makes no sense.
pub type Node<T> = Result<Option<T>, BadNode>;

/// A node whose value is not what belongs there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("xenstore has {value:?} at {path}, which is not a size in KiB")]
pub struct BadNode {
    /// The node.
    pub path: String,
    /// Its value, shortened; bytes that are not text are replaced.
    pub value: String,
}

/// Target, maximum and limit: the numbers that a change keeps in step. KiB; `None` is a node that does not exist (dom0's
/// before anything has set its memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Numbers {
    /// `memory/target`.
    #[serde(rename = "target_kib")]
    pub target: Option<Kib>,
    /// `memory/static-max`.
    #[serde(rename = "static_max_kib")]
    pub static_max: Option<Kib>,
    /// The hypervisor's limit.
    #[serde(rename = "limit_kib")]
    pub limit: Kib,
}

/// A domain's memory, as read at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The hypervisor's part.
    pub info: DomainInfo,
    /// `name`; `None` also if it is not text.
    pub name: Option<Name>,
    /// `memory/target`.
    pub target: Node<Kib>,
    /// `memory/static-max`.
    pub static_max: Node<Kib>,
    /// `memory/videoram` in KiB; -1 from builders that mean none.
    pub video: Node<i32>,
}

impl Memory {
    /// Reads the nodes of each of `domains`, all in one batch.
    ///
    /// # Errors
    /// xenstore does not answer. A value that makes no sense is not an error here.
    pub fn read_each(nodes: &dyn Nodes, domains: &[DomainInfo]) -> Result<Vec<Self>, StoreError> {
        let _ = (nodes, domains);
        todo!()
    }

    /// Reads the nodes of one domain.
    ///
    /// # Errors
    /// As [`read_each`](Self::read_each).
    pub fn read(nodes: &dyn Nodes, info: DomainInfo) -> Result<Self, StoreError> {
        let _ = (nodes, info);
        todo!()
    }

    /// Target, maximum and limit.
    ///
    /// # Errors
    /// A node makes no sense.
    pub fn numbers(&self) -> Result<Numbers, BadNode> {
        Ok(Numbers {
            target: self.target.clone()?,
            static_max: self.static_max.clone()?,
            limit: self.info.limit,
        })
    }

    /// Video memory in KiB; 0 if there is no such node.
    ///
    /// # Errors
    /// The node makes no sense.
    pub fn video_kib(&self) -> Result<i32, BadNode> {
        Ok(self.video.clone()?.unwrap_or(0))
    }

    /// Whether xenstore has none of the nodes: the domain is being destroyed, or was never introduced.
    pub const fn is_empty(&self) -> bool {
        self.name.is_none() && matches!((&self.target, &self.static_max), (Ok(None), Ok(None)))
    }
}

/// The paths of one domain's nodes.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `/local/domain/<domid>`.
    domain: String,
    /// `/vm/<uuid>`.
    vm: String,
}

impl Paths {
    /// Those of `identity`.
    pub fn of(identity: Identity) -> Self {
        Self { domain: domain_path(identity.domid), vm: format!("/vm/{}", identity.uuid) }
    }

    /// `name`, `memory/target`, `memory/static-max`, `memory/videoram`: what is read.
    pub fn name(&self) -> String {
        format!("{}/name", self.domain)
    }

    /// A node below `memory`.
    pub fn memory(&self, node: &str) -> String {
        format!("{}/memory/{node}", self.domain)
    }

    /// `/vm/<uuid>/memory`, in MiB.
    pub fn vm_memory(&self) -> String {
        format!("{}/memory", self.vm)
    }
}

/// The directory of a domain in xenstore.
pub fn domain_path(domid: DomId) -> String {
    format!("/local/domain/{domid}")
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |kib: Option<Kib>| kib.map_or_else(|| "none".to_owned(), |kib| kib.to_string());
        write!(
            f,
            "target {}, static-max {}, limit {}",
            shown(self.target),
            shown(self.static_max),
            self.limit
        )
    }
}
