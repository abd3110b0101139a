//! One node: its path, and what its value means.

use std::str::FromStr;

use xen::hypervisor::DomainInfo;
use xen::{DomId, Kib};

use super::{GuestType, Manager, Memory, Paths, domain_path};
use crate::domain::Name;

/// The most characters of a value that an error repeats.
const LONGEST_VALUE: usize = 80;

/// A node's value: `None` if it does not exist, an error if it is not a size.
pub type Node<T> = Result<Option<T>, BadNode>;

/// A node whose value is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("xenstore has {value:?} at {path}, which is not a size in KiB")]
pub struct BadNode {
    /// The node.
    pub path: String,
    /// Its value, shortened; bytes that are not text are replaced.
    pub value: String,
}

/// The nodes that are read of a domain.
pub(super) fn paths(info: &DomainInfo) -> Vec<String> {
    let domid = info.identity.domid;
    let paths = Paths::of(info.identity);
    let memory = ["target", "static-max", "videoram", "dynamic-max", "hotplug-max"];
    // The hypervisor itself says PV, but does not tell PVH from HVM.
    let guest_type = info.hvm.then(|| format!("/libxl/{domid}/type"));
    // No domain is dom0's device model, nor dom0 anybody's.
    let device_model = (domid != DomId::DOM0).then(|| format!("{}/target", domain_path(domid)));
    let memory = memory.into_iter().map(|node| paths.memory(node));
    [paths.name()].into_iter().chain(memory).chain(guest_type).chain(device_model).collect()
}

impl Memory {
    /// Takes the name of a node below `memory` whose value says nothing more.
    pub(crate) fn take_name(&mut self, name: &str) {
        match name {
            "dynamic-max" => self.manager = Some(Manager::Squeezed),
            "hotplug-max" => self.manager = Some(Manager::Qmemman),
            _ => {}
        }
    }

    /// Takes the value of the node at `path`, one of [`paths`].
    pub(crate) fn take(&mut self, path: &str, value: &[u8]) {
        let text = std::str::from_utf8(value);
        let mut parts = path.rsplit('/');
        match (parts.next(), parts.next()) {
            (Some("name"), _) => self.name = text.ok().map(|name| Name(name.to_owned())),
            (Some("target"), Some("memory")) => {
                self.target = number(path, value).map(|n| n.map(Kib));
            }
            (Some("static-max"), _) => self.static_max = number(path, value).map(|n| n.map(Kib)),
            (Some("videoram"), _) => self.video = number(path, value),
            (Some(name @ ("dynamic-max" | "hotplug-max")), _) => self.take_name(name),
            (Some("type"), _) => match text {
                Ok("pvh") => self.guest_type = GuestType::Pvh,
                Ok("hvm") => self.guest_type = GuestType::Hvm,
                _ => {}
            },
            _ => self.device_model_of = text.ok().and_then(|domid| DomId::new(domid.parse().ok()?)),
        }
    }
}

/// A whole number. libxl reads sizes with strtoull, which takes `-1` for 2^64 - 1; this does not.
fn number<N: FromStr>(path: &str, value: &[u8]) -> Node<N> {
    let number = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
    match number.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(BadNode {
            path: path.to_owned(),
            value: String::from_utf8_lossy(value).chars().take(LONGEST_VALUE).collect(),
        }),
    }
}
