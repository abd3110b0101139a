//! A domain's memory as xenstore and the hypervisor show it: the nodes, their values, and when they are in step.

mod node;

use std::fmt;

use serde::{Deserialize, Serialize};
pub use xen::hypervisor::GuestType;
use xen::hypervisor::{DomainInfo, UNLIMITED};
use xen::xenstore::{Nodes, StoreError};
use xen::{DomId, Kib, Uuid};

pub(crate) use self::node::Key;
pub(crate) use self::node::memory_path;
pub use self::node::{BadNode, Node, domain_path};
use crate::domain::{Domain, Name};
pub use crate::used::Report;

/// What libxl adds to every limit (`LIBXL_MAXMEM_CONSTANT`, `tools/libs/light/libxl_internal.h`). On Arm it adds up to 4 KiB
/// more for a guest with ACPI tables and many virtual processors; that is in the guest's JSON only, and xmem leaves it out.
pub const SLACK: Kib = Kib::from_mib(1);

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

/// A daemon that sets a domain's memory without libxl's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Manager {
    /// xapi's squeezed: `memory/dynamic-max` exists.
    Squeezed,
    /// Qubes OS's qmemman: `memory/hotplug-max` exists.
    Qmemman,
}

impl Manager {
    /// The daemon that keeps a node of this name below `memory`.
    pub(crate) fn with_node(name: &str) -> Option<Self> {
        match name {
            "dynamic-max" => Some(Self::Squeezed),
            "hotplug-max" => Some(Self::Qmemman),
            _ => None,
        }
    }
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
    /// `name`; `None` also if it is empty or not text.
    pub name: Option<Name>,
    /// `memory/target`.
    pub target: Node<Kib>,
    /// `memory/static-max`.
    pub static_max: Node<Kib>,
    /// `memory/videoram` in KiB; -1 from builders that mean none.
    pub video: Node<i32>,
    /// The daemon that manages the domain's memory, if any.
    pub manager: Option<Manager>,
    /// The domain whose device model this one runs (a stub domain): libxl writes its domid to `target` in the stub
    /// domain's own directory (`libxl__spawn_stub_dm`, `tools/libs/light/libxl_dm.c`).
    pub device_model_of: Option<DomId>,
    /// What its guest reports, if that was read.
    pub report: Report,
}

impl Memory {
    /// Reads all but the report of each of `domains`, in one batch.
    ///
    /// # Errors
    /// xenstore does not answer. A value that makes no sense is not an error here.
    pub fn read_each(nodes: &dyn Nodes, domains: &[DomainInfo]) -> Result<Vec<Self>, StoreError> {
        let mut all: Vec<Self> = domains.iter().map(|info| Self::of(*info)).collect();
        let keys: Vec<Vec<Key>> = all.iter().map(Self::keys).collect();
        Self::read_keys(nodes, &mut all, &keys)?;
        Ok(all)
    }

    fn keys(&self) -> Vec<Key> {
        // dom0 has no device-model domain, and is none.
        let device_model = (!self.is_dom0()).then_some(Key::DeviceModelOf);
        let managers = [Key::DynamicMax, Key::HotplugMax];
        Key::NUMBERS.into_iter().chain(managers).chain(device_model).collect()
    }

    /// Reads all but the report of one domain, in one round trip.
    ///
    /// # Errors
    /// As [`read_each`](Self::read_each).
    pub fn read(nodes: &dyn Nodes, info: DomainInfo) -> Result<Self, StoreError> {
        let mut memory = Self::of(info);
        let keys = memory.keys();
        Self::read_keys(nodes, std::slice::from_mut(&mut memory), &[keys])?;
        Ok(memory)
    }

    /// Reads what the guest of each of `domains` reports as used, all in one batch.
    ///
    /// # Errors
    /// xenstore does not answer.
    pub(crate) fn read_reports(nodes: &dyn Nodes, domains: &mut [Self]) -> Result<(), StoreError> {
        let keys: Vec<_> = domains.iter().map(|it| Key::reports(it.domid()).to_vec()).collect();
        Self::read_keys(nodes, domains, &keys)
    }

    /// A domain without nodes.
    pub const fn of(info: DomainInfo) -> Self {
        Self {
            info,
            name: None,
            target: Ok(None),
            static_max: Ok(None),
            video: Ok(None),
            manager: None,
            device_model_of: None,
            report: Report { total: None, free: None, in_use: None },
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

    /// The video memory; none if it is negative or makes no sense.
    pub fn video_memory(&self) -> Kib {
        Kib(self.video_kib().ok().and_then(|video| video.try_into().ok()).unwrap_or_default())
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

    /// The memory in use as the guest reports it, and never more than it has.
    pub fn used(&self) -> Option<Kib> {
        self.report.used().map(|used| used.min(self.info.current))
    }

    /// The domain, with the name that was read.
    pub fn domain(&self) -> Domain {
        Domain { identity: self.info.identity, name: self.name.clone() }
    }

    /// The domid.
    pub const fn domid(&self) -> DomId {
        self.info.identity.domid
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

/// The path of a domain's size in MiB, outside its directory.
pub(crate) fn vm_memory_path(uuid: Uuid) -> String {
    format!("/vm/{uuid}/memory")
}

/// Whether the domain itself may write the nodes that say how much memory it should have. libxl lets it only read them
/// (`libxl__domain_make`, `tools/libs/light/libxl_create.c`); dom0 owns them all.
///
/// # Errors
/// xenstore does not answer.
pub(crate) fn guest_may_write(nodes: &dyn Nodes, domid: DomId) -> Result<bool, StoreError> {
    let paths = [Key::Target, Key::StaticMax, Key::Video].map(|key| key.path(domid));
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    Ok(domid != DomId::DOM0 && nodes.may_write_any(domid, &paths)?)
}

/// Displays a limit or a maximum: `none` for [`UNLIMITED`], which dom0 has at first.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub Kib);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            UNLIMITED => f.write_str("none"),
            kib => kib.fmt(f),
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [target, static_max, limit] = [self.target, self.static_max, Some(self.limit)]
            .map(|kib| Limit(kib.unwrap_or(UNLIMITED)));
        write!(f, "target {target}, static-max {static_max}, limit {limit}")
    }
}

#[cfg(test)]
mod tests;
