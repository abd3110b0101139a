//! Where a domain's memory stands in xenstore, and what its values mean.
//!
//! Owns the paths and the parsing of the nodes. Never decides what a value should be.

mod many;

use std::io;
use std::iter;

pub use self::many::read_many;

use crate::domain::{DomId, Identity, Name};
use crate::hypervisor::DomainInfo;
use crate::size::Kib;
use crate::xenstore::{Batch, StoreError};

/// The paths of one domain's nodes.
#[derive(Clone, Debug)]
pub struct Nodes {
    name: String,
    target: String,
    static_max: String,
    video: String,
    vm_memory: String,
}

/// What xenstore has about a domain's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `name`.
    pub name: Option<Name>,
    /// `memory/target`.
    pub target: Option<Kib>,
    /// `memory/static-max`.
    pub static_max: Option<Kib>,
    /// `memory/videoram` in KiB; 0 when absent.
    pub video: i32,
}

impl Stored {
    /// Whether xenstore has nothing of the domain: it is being destroyed, or was never introduced.
    pub const fn is_empty(&self) -> bool {
        self.name.is_none() && self.target.is_none() && self.static_max.is_none()
    }
}

/// Why a domain's nodes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// xenstore did not give them.
    #[error(transparent)]
    Store(#[from] io::Error),
    /// A value that is no amount of memory.
    #[error("xenstore has {value:?} at {path}, which is not a size in KiB")]
    NotASize {
        /// The node.
        path: String,
        /// Its value.
        value: String,
    },
}

/// The path of a domain's name.
pub fn name_path(domid: DomId) -> String {
    format!("/local/domain/{domid}/name")
}

impl Nodes {
    /// Those of `identity`.
    pub fn of(identity: Identity) -> Self {
        let domain = format!("/local/domain/{}", identity.domid);
        Self {
            name: name_path(identity.domid),
            target: format!("{domain}/memory/target"),
            static_max: format!("{domain}/memory/static-max"),
            video: format!("{domain}/memory/videoram"),
            vm_memory: format!("/vm/{}/memory", identity.uuid),
        }
    }

    /// Reads them, all at once.
    ///
    /// # Errors
    /// [`NodesError`].
    pub fn read(&self, store: &impl Batch) -> Result<Stored, NodesError> {
        let paths = self.paths();
        let values = match store.read_each(&paths) {
            // A name that is not text is no reason to leave the domain as it is.
            Err(error) if is_not_text(&error, &self.name) => {
                let rest = store.read_each(paths.get(1..).unwrap_or_default())?;
                iter::once(None).chain(rest).collect()
            }
            values => values?,
        };
        self.stored(&mut values.into_iter())
    }

    /// The nodes that are read.
    fn paths(&self) -> [&str; 4] {
        [&self.name, &self.target, &self.static_max, &self.video]
    }

    /// What their `values` come to: as many of them as there are [`paths`](Self::paths).
    fn stored(
        &self,
        values: &mut impl Iterator<Item = Option<Box<str>>>,
    ) -> Result<Stored, NodesError> {
        let [name, target, static_max, video] = self.paths().map(|_| values.next().flatten());
        Ok(Stored {
            name: name.map(|name| Name(name.into())),
            target: size(&self.target, target)?,
            static_max: size(&self.static_max, static_max)?,
            video: number(&self.video, video)?.unwrap_or(0),
        })
    }

    /// Whether the domain itself may write any of the nodes that say how much memory it should have. libxl
    /// lets it only read them (`libxl__domain_make`, `tools/libs/light/libxl_create.c`).
    ///
    /// # Errors
    /// xenstore does not tell.
    pub fn are_its_own(&self, store: &impl Batch, domid: DomId) -> io::Result<bool> {
        // dom0 owns them all.
        let paths = [&*self.target, &self.static_max, &self.video];
        Ok(domid != DomId::DOM0 && store.may_write_any(domid, &paths)?)
    }

    /// Reads `memory/target` alone.
    ///
    /// # Errors
    /// [`NodesError`].
    pub fn read_target(&self, store: &impl Batch) -> Result<Option<Kib>, NodesError> {
        size(&self.target, store.read_each(&[&self.target])?.pop().flatten())
    }

    /// The nodes to write, each where there is a value for it. `/vm/<uuid>/memory` takes MiB, rounded
    /// down, as libxl writes it.
    pub fn writes(
        &self,
        target: Option<Kib>,
        static_max: Option<Kib>,
        vm_memory: Option<Kib>,
    ) -> Vec<(&str, String)> {
        let node = |path, value: Option<u64>| value.map(|value| (path, value.to_string()));
        [
            node(&*self.target, target.map(|kib| kib.0)),
            node(&*self.static_max, static_max.map(|kib| kib.0)),
            node(&*self.vm_memory, vm_memory.map(Kib::mib)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What xenstore has about one of many domains. What makes no sense is told, and the rest still shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// `name`.
    pub name: Option<String>,
    /// `memory/target`.
    pub target: Option<Kib>,
    /// `memory/static-max`.
    pub static_max: Option<Kib>,
    /// `memory/videoram` in KiB; 0 when absent.
    pub video: i32,
    /// `/libxl/<domid>/type`: `pvh` or `hvm`. Of a PV guest it is not read.
    pub kind: Option<String>,
    /// `memory/dynamic-max` is there, as xapi's squeezed keeps it.
    pub dynamic_max: bool,
    /// `memory/hotplug-max` is there, as Qubes' qmemman keeps it.
    pub hotplug_max: bool,
    /// What makes no sense.
    pub bad: Vec<String>,
}

/// Reads what there is about each of `domains`, all at once.
///
/// # Errors
/// xenstore does not answer. A value that makes no sense is not an error here.
pub fn survey(store: &impl Batch, domains: &[DomainInfo]) -> io::Result<Vec<Surveyed>> {
    let paths: Vec<Vec<String>> = domains.iter().map(surveyed_paths).collect();
    let all: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
    let mut values = read_one_by_one(store, &all)?.into_iter();
    Ok(paths
        .iter()
        .map(|paths| {
            let mut surveyed = Surveyed::default();
            for (path, value) in paths.iter().zip(values.by_ref()) {
                surveyed.take(path, value);
            }
            surveyed
        })
        .collect())
}

/// The nodes that are read of a domain. Of many domains they are most of what a table takes.
fn surveyed_paths(domain: &DomainInfo) -> Vec<String> {
    let domid = domain.identity.domid;
    let memory = ["target", "static-max", "videoram", "dynamic-max", "hotplug-max"]
        .map(|node| format!("/local/domain/{domid}/memory/{node}"));
    // Xen itself tells a PV guest, but not PVH from HVM.
    let kind = domain.hvm.then(|| format!("/libxl/{domid}/type"));
    iter::once(name_path(domid)).chain(memory).chain(kind).collect()
}

impl Surveyed {
    /// Takes a node's value, which is an error if it is not text.
    fn take(&mut self, path: &str, value: io::Result<Option<Box<str>>>) {
        if let Err(error) = self.try_take(path, value) {
            self.bad.push(error.to_string());
        }
    }

    fn try_take(
        &mut self,
        path: &str,
        value: io::Result<Option<Box<str>>>,
    ) -> Result<(), NodesError> {
        if matches!(value, Ok(None)) {
            return Ok(());
        }
        match path.rsplit_once('/').map_or(path, |(_, last)| last) {
            // A name or type that is not text is as good as none.
            "name" => self.name = value.ok().flatten().map(String::from),
            "type" => self.kind = value.ok().flatten().map(String::from),
            // A number that is not text is not one that is missing: those are filled in.
            "target" => self.target = size(path, value?)?,
            "static-max" => self.static_max = size(path, value?)?,
            "videoram" => self.video = number(path, value?)?.unwrap_or(0),
            "dynamic-max" => self.dynamic_max = true,
            _ => self.hotplug_max = true,
        }
        Ok(())
    }
}

/// Reads each of `paths`; one whose value is not text is as good as absent.
///
/// # Errors
/// xenstore does not answer.
pub fn read_text(store: &impl Batch, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
    let values = read_one_by_one(store, paths)?;
    Ok(values.into_iter().map(|value| value.ok().flatten()).collect())
}

/// Reads each of `paths`; one whose value is not text keeps no other from being read.
fn read_one_by_one(
    store: &impl Batch,
    paths: &[&str],
) -> io::Result<Vec<io::Result<Option<Box<str>>>>> {
    let is_not_text =
        |error: &io::Error| matches!(StoreError::of(error), Some(StoreError::NotText { .. }));
    match store.read_each(paths) {
        Err(error) if is_not_text(&error) => paths
            .iter()
            .map(|path| match store.read_each(&[path]) {
                Err(error) if is_not_text(&error) => Ok(Err(error)),
                value => Ok(Ok(value?.pop().flatten())),
            })
            .collect(),
        values => Ok(values?.into_iter().map(Ok).collect()),
    }
}

fn is_not_text(error: &io::Error, node: &str) -> bool {
    matches!(StoreError::of(error), Some(StoreError::NotText { path }) if path == node)
}

/// A node's value as KiB. libxl reads it with strtoull, which takes `-1` for 2^64 - 1; this does not.
fn size(path: &str, value: Option<Box<str>>) -> Result<Option<Kib>, NodesError> {
    Ok(number(path, value)?.map(Kib))
}

/// A node's value as a whole number that fits.
fn number<N: std::str::FromStr>(
    path: &str,
    value: Option<Box<str>>,
) -> Result<Option<N>, NodesError> {
    let Some(value) = value else { return Ok(None) };
    // A `+` is Rust's liberty, not xenstore's.
    match value.parse() {
        Ok(number) if !value.starts_with('+') => Ok(Some(number)),
        _ => Err(NodesError::NotASize {
            path: path.to_owned(),
            value: value.chars().take(80).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use xenstore_rs::Xs;

    use super::*;
    use crate::domain::Uuid;
    use crate::xenstore::Answer;

    /// A store with one value for each of a domain's memory nodes.
    struct Fixed(&'static str);

    impl Xs for Fixed {
        fn directory(&self, _: &str) -> io::Result<Vec<Box<str>>> {
            Ok(Vec::new())
        }
        fn read(&self, path: &str) -> io::Result<Box<str>> {
            if path.ends_with(self.0.split('=').next().unwrap()) {
                if self.0.ends_with("=\u{fffd}") {
                    return Err(StoreError::NotText { path: path.to_owned() }.into());
                }
                return Ok(self.0.split('=').nth(1).unwrap().into());
            }
            Err(StoreError::Answered { answer: Answer::NotFound, request: path.to_owned() }.into())
        }
        fn write(&self, _: &str, _: &str) -> io::Result<()> {
            Ok(())
        }
        fn rm(&self, _: &str) -> io::Result<()> {
            Ok(())
        }
    }
    impl Batch for Fixed {}

    fn read(node: &'static str) -> Result<Stored, NodesError> {
        Nodes::of(Identity { domid: DomId::DOM0, uuid: Uuid::default() }).read(&Fixed(node))
    }

    #[test]
    fn values_are_read() {
        assert_eq!(read("/target=524288").unwrap().target, Some(Kib(524_288)));
        assert_eq!(read("/static-max=17179869180").unwrap().static_max, Some(Kib(17_179_869_180)));
        assert_eq!(read("/videoram=-1").unwrap().video, -1);
        assert_eq!(read("/videoram=16384").unwrap().video, 16_384);
        assert!(read("/nothing=1").unwrap().is_empty());
        assert!(!read("/name=web").unwrap().is_empty());
        assert_eq!(read("/name=\u{fffd}").unwrap().name, None);
    }

    fn dom0(hvm: bool) -> DomainInfo {
        let identity = Identity { domid: DomId::DOM0, uuid: Uuid::default() };
        let (dying, paused, some) = (false, false, Kib(4));
        DomainInfo { identity, dying, paused, hvm, current: some, limit: some, outstanding: some }
    }

    /// A PV guest is one by Xen's own word, whatever a node says.
    #[test]
    fn the_kind_is_read_where_xen_leaves_it_open() {
        let kind = |hvm| survey(&Fixed("/type=pvh"), &[dom0(hvm)]).unwrap().remove(0).kind;
        assert_eq!(kind(true).as_deref(), Some("pvh"));
        assert_eq!(kind(false), None);
    }

    /// A missing node of dom0's would be filled in.
    #[test]
    fn what_is_not_text_is_not_missing() {
        for node in ["target", "static-max", "videoram"] {
            let node = format!("/{node}=\u{fffd}").leak();
            let path = format!("/local/domain/0/memory{}", node.trim_end_matches("=\u{fffd}"));
            let surveyed = survey(&Fixed(node), &[dom0(false)]).unwrap();
            assert_eq!(surveyed[0].bad, [format!("what xenstore has at {path} is not text")]);
            assert!(matches!(read(node), Err(NodesError::Store(_))));
        }
        let survey = |node| survey(&Fixed(node), &[dom0(true)]).unwrap().remove(0);
        assert_eq!(survey("/name=\u{fffd}"), Surveyed::default());
        assert_eq!(survey("/type=\u{fffd}"), Surveyed::default());
        assert!(survey("/dynamic-max=\u{fffd}").dynamic_max);
        assert!(survey("/hotplug-max=\u{fffd}").hotplug_max);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for node in [
            "/target=",
            "/target=-1",
            "/target=+1",
            "/target= 1",
            "/target=1 ",
            "/target=0x10",
            "/target=18446744073709551616",
            "/static-max=abc",
            "/videoram=9999999999",
            "/videoram=x",
        ] {
            assert!(matches!(read(node), Err(NodesError::NotASize { .. })), "{node}");
        }
    }
}
