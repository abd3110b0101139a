//! A host of many domains: the real client to a scripted xenstored, a scripted hypervisor, and a real
//! folder for the locks and the records.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use xmem::domain::{DomId, Identity, Uuid};
use xmem::host::Host;
use xmem::hypervisor::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use xmem::size::Kib;
use xmem::xenstore::Client;

use crate::peer::{Asked, Nodes, Xenstored};

/// What every guest holds and aims at, and its maximum.
pub(crate) const TARGET: Kib = Kib::from_mib(64);
const STATIC_MAX: Kib = Kib::from_mib(128);

/// So many domains fit into xmem's one page for a list of them, on Xen 4.17.
const A_LIST: usize = 34;

/// What a run has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) asked: Asked,
    pub(crate) hypercalls: usize,
}

pub(crate) struct ManyHost {
    state: TempDir,
    xenstored: Xenstored,
    hypervisor: ManyHypervisor,
}

impl ManyHost {
    /// dom0, and `count` guests called `vm1` and so on, all in step.
    pub(crate) fn new(count: u16) -> Self {
        let mut nodes = Nodes::new();
        let mut infos = BTreeMap::new();
        for number in 0..=count {
            let domid = DomId::new(number.into()).unwrap();
            let path = format!("/local/domain/{number}");
            nodes.insert(format!("{path}/name"), format!("vm{number}"));
            nodes.insert(format!("{path}/memory/target"), TARGET.0.to_string());
            nodes.insert(format!("{path}/memory/static-max"), STATIC_MAX.0.to_string());
            nodes.insert(format!("{path}/memory/videoram"), "0".to_owned());
            nodes.insert(format!("/libxl/{number}/type"), "pvh".to_owned());
            let info = DomainInfo {
                identity: Identity { domid, uuid: uuid(number) },
                dying: false,
                paused: false,
                hvm: number != 0,
                current: TARGET,
                limit: Kib(TARGET.0 + 1024),
                outstanding: Kib(0),
            };
            infos.insert(domid, info);
        }
        let (infos, free) = (RefCell::new(infos), Cell::new(Kib::from_mib(1 << 20)));
        Self {
            state: tempfile::tempdir().unwrap(),
            xenstored: Xenstored::new(nodes),
            hypervisor: ManyHypervisor { infos, free, calls: Cell::new(0), guests: None },
        }
    }

    /// The same with `free` memory, of which every guest takes what its target lets it, at once.
    pub(crate) fn with_quick_guests(count: u16, free: Kib) -> Self {
        let mut host = Self::new(count);
        host.hypervisor.free.set(free);
        host.hypervisor.guests = Some(host.xenstored.clone());
        host
    }

    /// What was asked of it since this was last called.
    pub(crate) fn take_cost(&self) -> Cost {
        Cost { asked: self.xenstored.take_asked(), hypercalls: self.hypervisor.calls.take() }
    }

    /// What is free when every guest has moved.
    pub(crate) fn free(&self) -> Kib {
        self.hypervisor.call(0);
        self.hypervisor.free.get()
    }

    /// A guest holds `kib` now, and `free` is free.
    pub(crate) fn hold(&self, number: u16, kib: Kib, free: Kib) {
        let domid = DomId::new(number.into()).unwrap();
        self.hypervisor.infos.borrow_mut().get_mut(&domid).unwrap().current = kib;
        self.hypervisor.free.set(free);
    }

    pub(crate) fn limit(&self, number: u16) -> Kib {
        self.hypervisor.infos.borrow()[&DomId::new(number.into()).unwrap()].limit
    }

    /// Sets the limit of every guest to `limit`.
    pub(crate) fn set_limits(&self, limit: Kib) {
        for info in self.hypervisor.infos.borrow_mut().values_mut().skip(1) {
            info.limit = limit;
        }
    }
}

/// A guest's UUID, which ends in its number.
pub(crate) fn uuid(number: u16) -> Uuid {
    Uuid((0x4000_8000_0000_0000_0000 + u128::from(number)).to_be_bytes())
}

impl Host for ManyHost {
    type Store = Client;
    type Hypervisor = ManyHypervisor;

    fn connect(&self) -> io::Result<Client> {
        Client::from_socket(self.xenstored.connect(), Duration::from_secs(60))
    }

    fn hypervisor(&self) -> &ManyHypervisor {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        self.state.path()
    }

    fn simulated(&self) -> bool {
        true
    }
}

pub(crate) struct ManyHypervisor {
    infos: RefCell<BTreeMap<DomId, DomainInfo>>,
    free: Cell<Kib>,
    calls: Cell<usize>,
    /// Where the guests read their targets, if they move.
    guests: Option<Xenstored>,
}

impl ManyHypervisor {
    fn call(&self, count: usize) {
        self.calls.set(self.calls.get() + count);
        let Some(xenstored) = &self.guests else { return };
        xenstored.with(|nodes| {
            for info in self.infos.borrow_mut().values_mut() {
                let path = format!("/local/domain/{}/memory/target", info.identity.domid);
                let target = nodes[&path].parse().unwrap();
                let most = info.limit.0.min(info.current.0 + self.free.get().0);
                let now = Kib(u64::min(target, most));
                self.free.set(Kib(self.free.get().0 + info.current.0 - now.0));
                info.current = now;
            }
        });
    }
}

impl Hypervisor for ManyHypervisor {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        self.call(1);
        Ok(self.infos.borrow().get(&domid).copied())
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        let count = self.infos.borrow().len();
        self.call(count.div_ceil(A_LIST));
        Ok(self.infos.borrow().values().copied().collect())
    }

    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError> {
        self.call(1);
        self.infos.borrow_mut().get_mut(&domid).unwrap().limit = limit;
        Ok(())
    }

    fn pod(&self, _: DomId) -> Result<Pod, HypervisorError> {
        panic!("no device is passed through")
    }

    fn set_pod_target(&self, _: DomId, _: Kib) -> Result<(), HypervisorError> {
        self.call(1);
        Ok(())
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.call(1);
        let free = self.free.get();
        Ok(HostMemory { total: Kib::from_mib(4 << 20), free, scrub: Kib(0), claimed: Kib(0) })
    }
}
