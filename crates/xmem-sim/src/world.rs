//! The world: the simulated host's hypervisor and xenstore, and the format of `world.json`.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use xen::hypervisor::{DomainInfo, GuestType, Shutdown, UNLIMITED};
use xen::{Dom0, DomId, Identity, Kib, Uuid};

use crate::xenstore;

/// The version of the world file.
const VERSION: u64 = 1;

const ABOUT: &str = "The host of `xmem --host sim`. Edit it while no xmem runs; remove it to start anew. To destroy a \
                     domain, remove it from `domains` and its nodes from `xenstore`. crates/xmem-sim/README.md \
                     explains the fields.";

/// A simulated host: domains and their memory, and xenstore.
///
/// ```
/// use xen::Kib;
/// use xmem_sim::World;
///
/// let mut world = World::start();
/// world.domains.get_mut(&7).unwrap().paused = true;
/// world.write("/local/domain/7/memory/target", "524288");
/// assert_eq!(world.read("/local/domain/7/name"), Some("web"));
/// assert_eq!(world.free(), Kib::from_mib(9 * 1024));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a world")]
pub struct World {
    #[serde(default)]
    about: String,
    #[serde(deserialize_with = "version")]
    version: u64,
    /// All memory that the hypervisor manages.
    pub memory_kib: Kib,
    /// dom0's kernel.
    #[serde(default)]
    pub dom0: Dom0Kernel,
    /// The hypervisor's domains, by domid.
    #[serde(deserialize_with = "domains")]
    pub domains: BTreeMap<u16, SimDomain>,
    /// xenstore's nodes, by path. A parent of a node need not be listed.
    #[serde(deserialize_with = "nodes")]
    pub xenstore: BTreeMap<String, String>,
    /// The time of each node's last change, as a number of changes. A node that never changed has none.
    #[serde(default)]
    pub(crate) generations: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) generation: u64,
}

/// A domain: its memory, its state, and its balloon driver. By default a running PVH guest without a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that a user may edit")]
pub struct SimDomain {
    /// The hypervisor's handle of the domain.
    pub uuid: Uuid,
    /// PV, PVH or HVM.
    #[serde(rename = "type")]
    pub guest_type: GuestType,
    /// Memory allocated to it.
    pub current_kib: Kib,
    /// The most memory it may be allocated.
    pub limit_kib: Kib,
    /// Claimed for it and not yet allocated.
    pub outstanding_kib: Kib,
    /// Memory in its populate-on-demand cache; part of `current_kib`.
    pub pod_cache_kib: Kib,
    /// Guest memory that is not populated yet.
    pub pod_entries_kib: Kib,
    /// Whether a device is passed through: its PoD target cannot be set.
    pub passthrough: bool,
    /// Paused by a toolstack.
    pub paused: bool,
    /// Dead, and not yet released by the last user of its memory.
    pub dying: bool,
    /// The reason for its shutdown, if it has shut down.
    pub shutdown: Option<Shutdown>,
    /// Online virtual processors: none while it is being built.
    pub vcpus: u32,
    /// The run time of its virtual processors: zero until it is first unpaused.
    pub cpu_time_ms: u64,
    /// Whether the guest may write the nodes in its own directory of xenstore.
    pub owns_nodes: bool,
    /// Whether the guest has a balloon driver.
    pub balloon: bool,
    /// The speed of its balloon: 0 is not at all, the largest number is at once.
    pub rate_kib_per_second: Kib,
    /// The time since which its balloon has been moving, in milliseconds of Unix time.
    pub(crate) moving_since_ms: Option<u64>,
}

/// The facts that `xen::Dom0` reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dom0Kernel {
    /// Its balloon driver's target, if it was set in its sysfs. The next write to `memory/target` in xenstore replaces
    /// it.
    pub balloon_target_kib: Option<Kib>,
    /// Major and minor version.
    pub kernel: Option<(u32, u32)>,
    /// Whether Xen maps dom0 1:1, as on Arm.
    pub direct_mapped: bool,
}

impl World {
    /// A host with `memory_kib` and no domain.
    pub fn empty(memory_kib: Kib) -> Self {
        Self {
            about: ABOUT.to_owned(),
            version: VERSION,
            memory_kib,
            dom0: Dom0Kernel::default(),
            domains: BTreeMap::new(),
            xenstore: BTreeMap::new(),
            generations: BTreeMap::new(),
            generation: 0,
        }
    }

    /// Memory that no domain holds. Includes claimed memory.
    pub fn free(&self) -> Kib {
        let held = self.domains.values().fold(0, |sum: u64, d| sum.saturating_add(d.current_kib.0));
        Kib(self.memory_kib.0.saturating_sub(held))
    }

    /// Memory that is claimed for domains.
    pub fn claimed(&self) -> Kib {
        let claims = self.domains.values().map(|domain| domain.outstanding_kib.0);
        Kib(claims.fold(0, u64::saturating_add))
    }

    /// Adds a running domain in step that holds `size`, `videoram_kib` of it for video, with the xenstore nodes that
    /// libxl writes. Its UUID is `00000000-0000-4000-8000-` and the domid in hexadecimal. Domain 0 has no limit, and
    /// the nil UUID.
    pub fn create(
        &mut self,
        domid: u16,
        name: &str,
        guest_type: GuestType,
        size: Kib,
        static_max: Kib,
        videoram_kib: u64,
    ) -> &mut SimDomain {
        const UUIDS: u128 = 0x0000_0000_0000_4000_8000_0000_0000_0000;
        const SLACK: u64 = 1024;
        let target = Kib(size.0.saturating_sub(videoram_kib));
        let dom = format!("/local/domain/{domid}");
        let mut node = |path: String, value: String| drop(self.xenstore.insert(path, value));
        node(format!("{dom}/name"), name.to_owned());
        node(format!("{dom}/domid"), domid.to_string());
        node(format!("{dom}/memory/target"), target.0.to_string());
        node(format!("{dom}/memory/static-max"), static_max.0.to_string());
        let (uuid, limit_kib) = if domid == 0 {
            (Uuid::nil(), UNLIMITED)
        } else {
            let uuid = Uuid::from_u128(UUIDS | u128::from(domid));
            node(format!("{dom}/vm"), format!("/vm/{uuid}"));
            node(format!("{dom}/memory/videoram"), videoram_kib.to_string());
            node(format!("/libxl/{domid}/type"), format!("{guest_type:?}").to_lowercase());
            node(format!("/vm/{uuid}/name"), name.to_owned());
            node(format!("/vm/{uuid}/uuid"), uuid.to_string());
            node(format!("/vm/{uuid}/memory"), target.mib().to_string());
            (uuid, Kib(size.0.saturating_add(SLACK)))
        };
        let domain =
            SimDomain { uuid, guest_type, current_kib: size, limit_kib, ..Default::default() };
        self.domains.remove(&domid);
        self.domains.entry(domid).or_insert(domain)
    }

    /// The domains as the hypervisor lists them.
    pub(crate) fn infos(&self) -> Vec<DomainInfo> {
        let domains = self.domains.iter();
        domains.filter_map(|(domid, it)| Some(it.info(DomId::new((*domid).into())?))).collect()
    }

    /// The facts of dom0's kernel.
    pub(crate) fn dom0_facts(&self) -> Dom0 {
        let has_driver = self.domains.get(&0).is_some_and(|dom0| dom0.balloon);
        let Dom0Kernel { kernel, direct_mapped, .. } = self.dom0;
        let balloon_target = self.balloon_target(0).filter(|_| has_driver);
        Dom0 { balloon_target, kernel, direct_mapped }
    }

    /// The target that a balloon driver follows: the one in xenstore, unless dom0's was set in sysfs.
    pub(crate) fn balloon_target(&self, domid: u16) -> Option<Kib> {
        let in_sysfs = self.dom0.balloon_target_kib.filter(|_| domid == 0);
        in_sysfs.or_else(|| self.memory_node(domid, "target").map(Kib))
    }

    /// A number below `memory` in the domain's directory of xenstore.
    pub(crate) fn memory_node<T: FromStr>(&self, domid: u16, name: &str) -> Option<T> {
        self.read(&format!("/local/domain/{domid}/memory/{name}"))?.parse().ok()
    }
}

impl Default for SimDomain {
    fn default() -> Self {
        Self {
            uuid: Uuid::nil(),
            guest_type: GuestType::Pvh,
            current_kib: Kib(0),
            limit_kib: UNLIMITED,
            outstanding_kib: Kib(0),
            pod_cache_kib: Kib(0),
            pod_entries_kib: Kib(0),
            passthrough: false,
            paused: false,
            dying: false,
            shutdown: None,
            vcpus: 1,
            cpu_time_ms: 1000,
            owns_nodes: false,
            balloon: true,
            rate_kib_per_second: Kib::from_mib(256),
            moving_since_ms: None,
        }
    }
}

impl SimDomain {
    /// The domain as the hypervisor reports it.
    pub(crate) fn info(&self, domid: DomId) -> DomainInfo {
        let pages = |kib: Kib| Kib::from_pages(kib.pages());
        DomainInfo {
            identity: Identity { domid, uuid: self.uuid },
            dying: self.dying,
            shutdown: self.shutdown,
            paused: self.paused,
            guest_type: self.guest_type,
            current: pages(self.current_kib),
            limit: pages(self.limit_kib),
            outstanding: pages(self.outstanding_kib),
            cpu_time: std::time::Duration::from_millis(self.cpu_time_ms),
            online_vcpus: self.vcpus,
        }
    }
}

fn version<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    match u64::deserialize(input)? {
        VERSION => Ok(VERSION),
        found => {
            Err(D::Error::custom(format!("version {found}; this xmem reads version {VERSION}")))
        }
    }
}

fn domains<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<u16, SimDomain>, D::Error> {
    let domains = BTreeMap::<u16, SimDomain>::deserialize(input)?;
    match domains.keys().find(|domid| DomId::new(u32::from(**domid)).is_none()) {
        Some(domid) => Err(D::Error::custom(format!("{domid} is not a domid: 0 to 32751"))),
        None => Ok(domains),
    }
}

fn nodes<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, String>, D::Error> {
    let nodes = BTreeMap::<String, String>::deserialize(input)?;
    match nodes.keys().find(|path| !xenstore::is_path(path)) {
        Some(path) => Err(D::Error::custom(format!("`{path}` is not a xenstore path"))),
        None => Ok(nodes),
    }
}
