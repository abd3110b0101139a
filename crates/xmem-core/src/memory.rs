//! A domain's memory as xenstore and the hypervisor show it: the nodes, their values, and when they are in step.

mod node;

use std::fmt;

use serde::{Deserialize, Serialize};
use xen::hypervisor::{DomainInfo, UNLIMITED};
use xen::xenstore::{Nodes, StoreError, Values};
use xen::{DomId, Identity, Kib};

pub use self::node::{BadNode, Node};
use crate::domain::Name;
use crate::used;

/// What libxl adds to every limit (`LIBXL_MAXMEM_CONSTANT`, `tools/libs/light/libxl_internal.h`). On Arm it adds up to 4 KiB
/// more for a guest with ACPI tables and many virtual processors; that is in the guest's JSON only, and xmem leaves it out.
pub const SLACK: Kib = Kib::from_mib(1);
/// The number of domains whose nodes are read together: bounds the memory for requests and replies.
pub(crate) const CHUNK: usize = 1024;

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

/// The kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestType {
    /// Paravirtualised.
    Pv,
    /// Paravirtualised in a hardware container.
    Pvh,
    /// Fully virtualised.
    Hvm,
}

/// A daemon that sets a domain's memory without libxl's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Manager {
    /// xapi's squeezed: `memory/dynamic-max` exists.
    Squeezed,
    /// Qubes OS's qmemman: `memory/hotplug-max` exists.
    Qmemman,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Squeezed => "xapi's squeezed (memory/dynamic-max)",
            Self::Qmemman => "Qubes OS's qmemman (memory/hotplug-max)",
        })
    }
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
    /// The kind of guest: the hypervisor's word for PV, `/libxl/<domid>/type` for PVH or HVM.
    pub guest_type: GuestType,
    /// The daemon that manages the domain's memory, if any.
    pub manager: Option<Manager>,
    /// Memory in use as its guest reports it, if that was read: at most what the domain holds.
    pub used: Option<Kib>,
    /// The domain whose device model this one runs (a stub domain): libxl writes its domid to `target` in the stub
    /// domain's own directory (`libxl__spawn_stub_dm`, `tools/libs/light/libxl_dm.c`).
    pub device_model_of: Option<DomId>,
}

impl Memory {
    /// Reads the nodes of each of `domains`, all in one batch.
    ///
    /// # Errors
    /// xenstore does not answer. A value that makes no sense is not an error here.
    pub fn read_each(nodes: &dyn Nodes, domains: &[DomainInfo]) -> Result<Vec<Self>, StoreError> {
        let mut all = Vec::with_capacity(domains.len());
        for domains in domains.chunks(CHUNK) {
            let paths: Vec<Vec<String>> = domains.iter().map(node::paths).collect();
            let flat: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
            let mut values = nodes.read_each(&flat)?.into_iter();
            let memories = domains.iter().zip(&paths).map(|(info, paths)| {
                let mut memory = Self::of(*info);
                for (path, value) in paths.iter().zip(values.by_ref()) {
                    if let Some(value) = value {
                        memory.take(path, &value);
                    }
                }
                memory
            });
            all.extend(memories);
        }
        Ok(all)
    }

    /// Reads the nodes of one domain, in one round trip.
    ///
    /// # Errors
    /// As [`read_each`](Self::read_each).
    pub fn read(nodes: &dyn Nodes, info: DomainInfo) -> Result<Self, StoreError> {
        let mut read = Self::read_each(nodes, &[info])?;
        // One domain in, one out.
        Ok(read.pop().unwrap_or_else(|| Self::of(info)))
    }

    /// Reads what the guest of each of `memories` reports as used, all in one batch.
    ///
    /// # Errors
    /// xenstore does not answer.
    pub(crate) fn read_reports(
        nodes: &dyn Nodes,
        memories: &mut [&mut Self],
    ) -> Result<(), StoreError> {
        for memories in memories.chunks_mut(CHUNK) {
            let paths: Vec<Vec<String>> =
                memories.iter().map(|memory| used::nodes(memory.info.identity.domid)).collect();
            let flat: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
            let mut values = nodes.read_each(&flat)?.into_iter();
            for (memory, paths) in memories.iter_mut().zip(&paths) {
                let values: Values = values.by_ref().take(paths.len()).collect();
                memory.used = used::reported(&values, memory.info.current);
            }
        }
        Ok(())
    }

    /// A domain without nodes.
    pub const fn of(info: DomainInfo) -> Self {
        Self {
            info,
            name: None,
            target: Ok(None),
            static_max: Ok(None),
            video: Ok(None),
            guest_type: match (info.hvm, info.identity.domid.get()) {
                (false, _) => GuestType::Pv,
                // dom0 has no device model.
                (true, 0) => GuestType::Pvh,
                (true, _) => GuestType::Hvm,
            },
            manager: None,
            used: None,
            device_model_of: None,
        }
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

    /// The size: target and video memory. `None` if the target is missing or makes no sense. Video memory that makes no
    /// sense is none, as for libxl.
    pub fn size(&self) -> Option<Kib> {
        let target = self.target.as_ref().ok().copied().flatten()?;
        Some(size_of(target, self.video_kib().unwrap_or(0)))
    }

    /// Whether xenstore has none of the nodes: the domain is being destroyed, or was never introduced.
    pub const fn is_empty(&self) -> bool {
        self.name.is_none() && matches!((&self.target, &self.static_max), (Ok(None), Ok(None)))
    }

    /// Whether it is the control domain.
    pub const fn is_dom0(&self) -> bool {
        self.info.identity.domid.get() == DomId::DOM0.get()
    }

    /// Whether both target and size are above the maximum. libxl compares the target, so that a size may be above the
    /// maximum by the video memory; with video memory of -1, target = static-max + 1 is healthy.
    pub fn is_above_maximum(&self) -> bool {
        let (Ok(Numbers { target: Some(target), static_max: Some(max), .. }), Ok(video)) =
            (self.numbers(), self.video_kib())
        else {
            return false;
        };
        exceeds(target, video, max)
    }

    /// The limit that the target needs: target + video + slack, in whole pages, at most [`UNLIMITED`]. Zero if there is no
    /// target, or one that makes no sense.
    pub fn required_limit(&self) -> Kib {
        let required = self.size().map(|size| size.plus(SLACK).unwrap_or(UNLIMITED));
        Kib::from_pages(required.unwrap_or_default().pages()).min(UNLIMITED)
    }

    /// The least limit that is in step: dom0's may be without slack, as it boots with `dom0_mem=1G,max:1G`.
    pub fn least_limit(&self) -> Kib {
        let required = self.required_limit();
        if self.is_dom0() { required.minus(SLACK).unwrap_or_default() } else { required }
    }

    /// The limit to raise the domain's to, if it is too low for the target.
    pub fn missing_limit(&self) -> Option<Kib> {
        (self.info.limit < self.least_limit()).then(|| self.required_limit())
    }
}

/// Target and video memory, in KiB.
pub(crate) fn size_of(target: Kib, video: i32) -> Kib {
    Kib(target.0.saturating_add_signed(video.into()))
}

/// Whether a target, with `video` KiB of video memory, is out of step with the maximum `static_max`.
pub(crate) fn exceeds(target: Kib, video: i32, static_max: Kib) -> bool {
    target > static_max && size_of(target, video) > static_max
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
    /// The paths of domain `identity`.
    pub fn of(identity: Identity) -> Self {
        Self { domain: domain_path(identity.domid), vm: format!("/vm/{}", identity.uuid) }
    }

    /// `name`.
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

    /// Whether the domain itself may write the nodes that say how much memory it should have. libxl lets it only read
    /// them (`libxl__domain_make`, `tools/libs/light/libxl_create.c`); dom0 owns them all.
    ///
    /// # Errors
    /// xenstore does not answer.
    pub fn guest_may_write(&self, nodes: &dyn Nodes, domid: DomId) -> Result<bool, StoreError> {
        let paths = ["target", "static-max", "videoram"].map(|node| self.memory(node));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        Ok(domid != DomId::DOM0 && nodes.may_write_any(domid, &paths)?)
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

#[cfg(test)]
mod tests;
