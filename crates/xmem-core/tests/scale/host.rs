//! A host with many domains, and a xenstored that counts requests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;
use xen::hypervisor::Hypervisor;
use xen::xenstore::{Store, StoreError};
use xen::{Dom0, Host, Kib};
use xmem_sim::{Call, Faults, GuestType, Observer, SimHost, Verdict, WireHost, World, Xenstored};

/// Each guest's memory and maximum.
pub(crate) const SIZE: Kib = Kib::from_mib(64);

/// The cost of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    pub(crate) round_trips: usize,
    pub(crate) commits: usize,
    /// Hypercalls by name. A list of domains counts once here; on Xen it takes one hypercall per 34 domains.
    pub(crate) hypercalls: BTreeMap<String, usize>,
}

pub(crate) struct ManyHost {
    world: Arc<Mutex<World>>,
    wire: WireHost,
    hypercalls: Arc<Mutex<BTreeMap<String, usize>>>,
    _dir: TempDir,
}

impl ManyHost {
    /// dom0, and `count` PVH guests named `vm1` and so on, all in step.
    pub(crate) fn new(count: u16) -> Self {
        let mut world = World::empty(Kib::from_mib(1 << 20));
        world.create(0, "Domain-0", GuestType::Pv, SIZE, SIZE, 0);
        for domid in 1..=count {
            let guest = world.create(domid, &format!("vm{domid}"), GuestType::Pvh, SIZE, SIZE, 0);
            guest.balloon = false;
        }
        let world = Arc::new(Mutex::new(world));
        let dir = tempfile::tempdir().unwrap();
        let hypercalls: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let counted = Arc::clone(&hypercalls);
        let observer = move |call: &Call<'_>| {
            *counted.lock().unwrap().entry(call.to_string()).or_default() += 1;
            Verdict::Proceed
        };
        let sim = SimHost::in_memory(&world, dir.path(), Faults::default())
            .observed_by(Arc::new(observer) as Arc<dyn Observer>);
        let wire = WireHost { sim, xenstored: Xenstored::new(&world) };
        Self { world, wire, hypercalls, _dir: dir }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The cost since the last time.
    pub(crate) fn take_cost(&self) -> Cost {
        let counts = self.wire.xenstored.take_counts();
        Cost {
            connections: counts.connections,
            requests: counts.requests,
            round_trips: counts.round_trips,
            commits: counts.commits,
            hypercalls: std::mem::take(&mut self.hypercalls.lock().unwrap()),
        }
    }
}

impl Host for ManyHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        self.wire.connect()
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        self.wire.hypervisor()
    }

    fn state_dir(&self) -> &Path {
        self.wire.state_dir()
    }

    fn dom0(&self) -> Dom0 {
        self.wire.dom0()
    }
}
