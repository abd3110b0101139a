//! The nodes with a domain's memory: their paths, how they are read, and the meaning of their values.

use std::str::FromStr;

use xen::xenstore::{Nodes, StoreError};
use xen::{DomId, Kib};

use super::{Manager, Memory};
use crate::domain::Name;
use crate::used;

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

/// A node in a domain's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Name,
    Target,
    StaticMax,
    Video,
    /// Of xapi's squeezed.
    DynamicMax,
    /// Of Qubes OS's qmemman.
    HotplugMax,
    /// In a stub domain, the guest whose device model it runs.
    DeviceModelOf,
    /// The guest's total memory: a `XenServer` agent writes it when it changes.
    ReportedTotal,
    /// The guest's free memory, likewise.
    ReportedFree,
    /// The report of a Qubes OS guest.
    Meminfo,
}

impl Key {
    /// The name, and the numbers that a change keeps in step.
    pub(crate) const NUMBERS: [Self; 4] = [Self::Name, Self::Target, Self::StaticMax, Self::Video];

    /// The reports of the guest of domain `domid`, which change all the time. dom0 has none.
    pub(crate) const fn reports(domid: DomId) -> &'static [Self] {
        match domid.get() {
            0 => &[],
            _ => &[Self::ReportedTotal, Self::ReportedFree, Self::Meminfo],
        }
    }

    /// The path in xenstore.
    pub(crate) fn path(self, domid: DomId) -> String {
        let node = match self {
            Self::Name => "name",
            Self::Target => "memory/target",
            Self::StaticMax => "memory/static-max",
            Self::Video => "memory/videoram",
            Self::DynamicMax => "memory/dynamic-max",
            Self::HotplugMax => "memory/hotplug-max",
            Self::DeviceModelOf => "target",
            Self::ReportedTotal => "data/meminfo_total",
            Self::ReportedFree => "data/meminfo_free",
            Self::Meminfo => "memory/meminfo",
        };
        format!("{}/{node}", domain_path(domid))
    }
}

/// The directory of a domain in xenstore.
pub fn domain_path(domid: DomId) -> String {
    format!("/local/domain/{domid}")
}

/// The directory of a domain's target and maximum.
pub(crate) fn memory_path(domid: DomId) -> String {
    format!("{}/memory", domain_path(domid))
}

impl Memory {
    /// Reads nodes of each of `domains`, all in one batch. `keys` has those of each domain.
    ///
    /// # Errors
    /// xenstore does not answer. A value that makes no sense is not an error here.
    pub(crate) fn read_keys(
        nodes: &dyn Nodes,
        domains: &mut [Self],
        keys: &[Vec<Key>],
    ) -> Result<(), StoreError> {
        let of_domain = |(domain, keys): (&Self, &Vec<Key>)| -> Vec<String> {
            keys.iter().map(|key| key.path(domain.domid())).collect()
        };
        let paths: Vec<String> = domains.iter().zip(keys).flat_map(of_domain).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let values = nodes.read_each(&paths.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut read = paths.iter().zip(values);
        for (domain, keys) in domains.iter_mut().zip(keys) {
            domain.take_each(keys, read.by_ref());
        }
        Ok(())
    }

    /// Takes the values of the domain's `keys`, each with its path.
    pub(crate) fn take_each<'a>(
        &mut self,
        keys: &[Key],
        read: impl Iterator<Item = (&'a String, Option<Vec<u8>>)>,
    ) {
        for (key, (path, value)) in keys.iter().zip(read) {
            self.take(*key, path, value.as_deref());
        }
    }

    /// Takes the value of the node at `path`, which is the domain's `key`.
    fn take(&mut self, key: Key, path: &str, value: Option<&[u8]>) {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        let exists = value.is_some();
        match key {
            Key::Name => self.name = text.and_then(Name::of),
            Key::Target => self.target = number(path, value).map(|kib| kib.map(Kib)),
            Key::StaticMax => self.static_max = number(path, value).map(|kib| kib.map(Kib)),
            Key::Video => self.video = number(path, value),
            Key::DynamicMax if exists => self.manager = Some(Manager::Squeezed),
            Key::HotplugMax if exists => self.manager = Some(Manager::Qmemman),
            Key::DynamicMax | Key::HotplugMax => {}
            Key::DeviceModelOf => {
                self.device_model_of = text.and_then(|domid| DomId::new(domid.parse().ok()?));
            }
            Key::ReportedTotal => self.report.total = value.and_then(used::number),
            Key::ReportedFree => self.report.free = value.and_then(used::number),
            Key::Meminfo => self.report.in_use = value.and_then(used::from_meminfo),
        }
    }
}

/// A whole number. libxl reads sizes with strtoull, which takes `-1` for 2^64 - 1; this does not.
fn number<N: FromStr>(path: &str, value: Option<&[u8]>) -> Node<N> {
    let Some(value) = value else { return Ok(None) };
    let number = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
    match number.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(BadNode {
            path: path.to_owned(),
            value: String::from_utf8_lossy(value).chars().take(LONGEST_VALUE).collect(),
        }),
    }
}
