//! The world: what the hypervisor and xenstore of the simulated host know, and how it is written.
//!
//! Owns the world file's format. Never opens a file: that is [`folder`](super::folder)'s work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use super::domains::Domains;
use super::error::SimError;
use super::record::Record;
use super::tree::{Tree, path_flaw};
use crate::domain::{DomId, Uuid};
use crate::hypervisor::UNLIMITED;
use crate::size::Kib;

/// The only version of the world file so far.
const VERSION: u64 = 1;

/// The first thing that somebody sees who opens the world file.
const ABOUT: &str = "A host that `xmem --host sim` works on. Edit it while no xmem runs, or remove \
                     it to start anew. To destroy a domain, remove it from `domains`, and its nodes \
                     from `xenstore`.";

/// How fast a balloon moves when the world does not say: 256 MiB/s.
const RATE: Kib = Kib::from_mib(256);

/// The simulated host.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// All memory that the hypervisor manages.
    pub(super) memory: Kib,
    /// The hypervisor's domains.
    pub(super) domains: Domains,
    /// xenstore.
    pub(super) xenstore: Tree,
    /// The memory that there was when the changes were last taken.
    memory_was: Kib,
    /// When this process last moved the balloons.
    pub(super) moved_ms: Option<u64>,
}

/// The same host, whoever looked at it when.
impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        (self.memory, &self.domains, &self.xenstore)
            == (other.memory, &other.domains, &other.xenstore)
    }
}

impl Eq for World {}

/// A domid as the key of a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(super) struct Number(pub(super) DomId);

impl TryFrom<u32> for Number {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        DomId::new(number).map(Self).ok_or("domids go from 0 to 32751")
    }
}

impl From<Number> for u32 {
    fn from(number: Number) -> Self {
        Self::from(number.0.get())
    }
}

/// How a domain is virtualised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Paravirtualised.
    Pv,
    /// Hardware-assisted, without emulated devices.
    #[default]
    Pvh,
    /// Hardware-assisted, with emulated devices.
    Hvm,
}

impl Kind {
    /// As libxl writes it to `/libxl/<domid>/type`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
            Self::Hvm => "hvm",
        }
    }
}

/// What the hypervisor knows of a domain, and how its guest behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that a user may edit")]
pub(super) struct SimDomain {
    #[serde(with = "text")]
    pub(super) uuid: Uuid,
    #[serde(default)]
    pub(super) kind: Kind,
    /// What it holds now.
    pub(super) current_kib: Kib,
    /// What it may hold.
    #[serde(default = "unlimited")]
    pub(super) limit_kib: Kib,
    /// Claimed, and not yet allocated.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) outstanding_kib: Kib,
    /// Memory in the populate-on-demand cache; part of what it holds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) pod_cache_kib: Kib,
    /// Memory that is promised and not yet populated.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) pod_entries_kib: Kib,
    /// A device is passed through: the PoD target cannot be set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) passthrough: bool,
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) dying: bool,
    /// Whether the guest has a balloon driver at all.
    #[serde(default = "yes")]
    pub(super) balloon: bool,
    /// How fast its balloon moves.
    #[serde(default = "rate")]
    pub(super) rate_kib_per_second: Kib,
    /// Since when its balloon has been moving, in milliseconds of Unix time; absent when it rests.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) moving_since_ms: Option<u64>,
}

const fn unlimited() -> Kib {
    UNLIMITED
}

const fn yes() -> bool {
    true
}

const fn rate() -> Kib {
    RATE
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a type's `Display` and `FromStr` say, as a JSON string.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(t: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(t)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The world as the file has it. Nodes are told apart from generations, so that the values that a
/// user looks for stand alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a world")]
struct File {
    #[serde(default, rename = "about")]
    _about: String,
    version: u64,
    #[serde(default)]
    journal: Option<u64>,
    memory_kib: Kib,
    domains: BTreeMap<Number, SimDomain>,
    xenstore: BTreeMap<String, String>,
    /// When each node was last changed, counted in changes. Only those that ever were.
    #[serde(default)]
    generations: BTreeMap<String, u64>,
    #[serde(default)]
    generation: u64,
}

/// The same to be written, without a copy.
#[derive(Serialize)]
struct Shown<'a, X: Serialize, G: Serialize> {
    about: &'static str,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<u64>,
    memory_kib: Kib,
    domains: &'a BTreeMap<Number, SimDomain>,
    xenstore: X,
    generations: G,
    generation: u64,
}

/// What comes out of what it returns, as a JSON object.
struct Entries<F>(F);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)>, F: Fn() -> I> Serialize
    for Entries<F>
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// Of any version's world file.
#[derive(Deserialize)]
#[serde(expecting = "a world: an object with the field `version`")]
struct Versioned {
    version: u64,
}

impl World {
    pub(super) fn new(memory: Kib, domains: BTreeMap<Number, SimDomain>, xenstore: Tree) -> Self {
        let domains = Domains::new(domains);
        Self { memory, domains, xenstore, memory_was: memory, moved_ms: None }
    }

    /// Reads a world, and the name of the journal in which it goes on, if it does; `path` is for messages.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<(Self, Option<u64>), SimError> {
        let broken = |source| SimError::Broken { path: path.to_owned(), source };
        let of_version = |found| match found {
            VERSION => Ok(()),
            _ => Err(SimError::Version { path: path.to_owned(), found, known: VERSION }),
        };
        let file: File = match serde_json::from_slice(bytes) {
            Ok(file) => file,
            Err(error) => {
                // That it is of another version says more than how it differs.
                of_version(serde_json::from_slice::<Versioned>(bytes).map_err(broken)?.version)?;
                return Err(broken(error));
            }
        };
        of_version(file.version)?;
        let File { journal, memory_kib, domains, xenstore, generations, generation, .. } = file;
        if let Some((node, what)) =
            xenstore.keys().find_map(|node| path_flaw(node).map(|what| (node.clone(), what)))
        {
            return Err(SimError::BadNode { path: path.to_owned(), node, what });
        }
        let xenstore = Tree::new(xenstore, &generations, generation);
        Ok((Self::new(memory_kib, domains, xenstore), journal))
    }

    /// The world file of this world, which goes on in `journal`, if it does.
    pub(super) fn text(&self, journal: Option<u64>) -> serde_json::Result<String> {
        let plain_parent = |path: &str, value: &str| {
            value.is_empty() && self.xenstore.below(path).next().is_some()
        };
        let values = || {
            let nodes = self.xenstore.nodes();
            let told = nodes.filter(|(path, node)| !plain_parent(path, &node.value));
            told.map(|(path, node)| (path, &node.value))
        };
        let generations = || {
            let young = self.xenstore.nodes().filter(|(_, node)| node.generation != 0);
            young.map(|(path, node)| (path, node.generation))
        };
        let mut text = serde_json::to_string_pretty(&Shown {
            about: ABOUT,
            version: VERSION,
            journal,
            memory_kib: self.memory,
            domains: &self.domains,
            xenstore: Entries(values),
            generations: Entries(generations),
            generation: self.xenstore.generation(),
        })?;
        text.push('\n');
        Ok(text)
    }

    /// Memory that no domain holds.
    pub(super) fn free(&self) -> Kib {
        let held = u64::try_from(self.domains.held()).unwrap_or(u64::MAX);
        Kib(self.memory.0.saturating_sub(held))
    }

    /// Memory that is claimed by domains that are being built.
    pub(super) fn claimed(&self) -> Kib {
        Kib(u64::try_from(self.domains.claimed()).unwrap_or(u64::MAX))
    }

    /// The domains that were touched since the changes were last taken, by themselves or by their nodes.
    pub(super) fn touched(&self) -> BTreeSet<Number> {
        self.domains.touched().chain(self.xenstore.touched().filter_map(owner)).collect()
    }

    /// What has changed since this was last called.
    pub(super) fn take_record(&mut self) -> Option<Record> {
        let memory_kib = (self.memory != self.memory_was).then_some(self.memory);
        self.memory_was = self.memory;
        let (domains, xenstore) = (self.domains.take_changed(), self.xenstore.take_changed());
        let record = Record { memory_kib, domains, xenstore };
        (!record.is_empty()).then_some(record)
    }

    /// Makes a change that somebody else has recorded.
    pub(super) fn replay(&mut self, record: Record) {
        let Record { memory_kib, domains, xenstore } = record;
        self.memory = memory_kib.unwrap_or(self.memory);
        self.memory_was = self.memory;
        for (number, domain) in domains {
            self.domains.put(number, domain);
        }
        for (path, node) in xenstore {
            if let Some(number) = owner(&path) {
                self.domains.stir(number);
            }
            self.xenstore.put(path, node);
        }
    }
}

/// The domain whose node `path` is.
fn owner(path: &str) -> Option<Number> {
    let domid = path.strip_prefix("/local/domain/")?.split('/').next()?;
    domid.parse::<u32>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;

    fn parse(text: &str) -> Result<World, SimError> {
        World::parse(text.as_bytes(), Path::new("world.json")).map(|(world, _)| world)
    }

    /// The whole chain, as a user sees it.
    fn complaint(text: &str) -> String {
        use std::error::Error as _;
        let error = parse(text).unwrap_err();
        error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
    }

    #[test]
    fn survives_its_file() {
        let mut world = start::world();
        assert_eq!(parse(&world.text(None).unwrap()).unwrap(), world);
        world.xenstore.write("/local/domain/7/memory/target", "4");
        world.xenstore.write("/new/parent/leaf", "x");
        world.xenstore.write("/new/empty", "");
        world.xenstore.rm("/local/domain/9/memory/target").unwrap();
        world.domains.get_mut(Number(DomId::DOM0)).unwrap().moving_since_ms = Some(17);
        assert_eq!(parse(&world.text(None).unwrap()).unwrap(), world);
    }

    #[test]
    fn a_short_world_of_somebodys_own() {
        let world = parse(
            r#"{ "version": 1, "memory_kib": 1048576,
                 "domains": { "12": { "uuid": "00000000-0000-4000-8000-00000000000c",
                                      "current_kib": 524288 } },
                 "xenstore": { "/local/domain/12/memory/target": "524288" } }"#,
        )
        .unwrap();
        let domain = world.domains.values().next().unwrap();
        assert_eq!((domain.limit_kib, domain.kind), (UNLIMITED, Kind::Pvh));
        assert!(domain.balloon && !domain.paused && !domain.dying);
        assert_eq!(domain.rate_kib_per_second, Kib(262_144));
        assert_eq!(world.free(), Kib(524_288));
        assert_eq!(world.xenstore.read("/local/domain"), Ok(""));
    }

    #[test]
    fn a_broken_world_is_complained_of_with_line_and_column() {
        let good = start::world().text(None).unwrap();
        for (bad, expected) in [
            (good.replacen('{', "", 1), "at line 2 column"),
            (good.replace("\"7\":", "\"seven\":"), "at line"),
            (good.replace("\"7\":", "\"40000\":"), "domids go from 0 to 32751 at line"),
            (good.replace("\"paused\"", "\"pased\""), "unknown field `pased`"),
            (good.replace("\"pvh\"", "\"lxc\""), "unknown variant `lxc`"),
            (good.replace("00000000-0000-4000", "0000"), "not a UUID at line"),
            (good.replace("\"version\": 1", "\"version\": 2"), "this xmem knows version 1"),
            (good.replace("/local/domain/7/name", "local"), "`local`: a path starts with /"),
            (String::new(), "EOF while parsing"),
            ("[]".to_owned(), "at line 1 column"),
        ] {
            assert_ne!(bad, good, "{expected}");
            let complaint = complaint(&bad);
            assert!(complaint.contains(expected), "{complaint} / {expected}");
            assert!(complaint.contains("world.json"), "{complaint}");
        }
    }
}
