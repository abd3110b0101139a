//! The worlds that a new directory can start with.

use std::str::FromStr;

use xen::Kib;
use xen::hypervisor::UNLIMITED;

use crate::error::SimError;
use crate::world::{GuestType, ShutdownReason, World};

/// The environment variable that chooses the world of a new directory.
pub const WORLD_VARIABLE: &str = "XMEM_SIM_WORLD";

/// Which world a new directory starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartWorld {
    /// dom0 and one running guest of each type: [`World::start`].
    #[default]
    Start,
    /// A domain in each state: [`World::states`].
    States,
}

impl StartWorld {
    /// The world that `XMEM_SIM_WORLD` asks for. Unset and empty mean [`StartWorld::Start`].
    ///
    /// # Errors
    /// [`SimError::UnknownWorld`].
    pub fn from_env() -> Result<Self, SimError> {
        std::env::var_os(WORLD_VARIABLE)
            .map_or(Ok(Self::Start), |word| word.to_string_lossy().trim().parse())
    }

    /// A new world.
    pub fn world(self) -> World {
        match self {
            Self::Start => World::start(),
            Self::States => World::states(),
        }
    }
}

impl FromStr for StartWorld {
    type Err = SimError;

    fn from_str(word: &str) -> Result<Self, SimError> {
        match word {
            "" | "start" => Ok(Self::Start),
            "states" => Ok(Self::States),
            _ => Err(SimError::UnknownWorld { word: word.to_owned() }),
        }
    }
}

impl World {
    /// A host of 16 GiB with dom0, `web` (domain 7, PVH), `db` (8, PV) and `win` (9, HVM), all in step.
    pub fn start() -> Self {
        let mib = Kib::from_mib;
        let mut world = Self::empty(mib(16 * 1024));
        world.create(0, "Domain-0", GuestType::Pv, mib(2048), UNLIMITED, 0);
        world.create(7, "web", GuestType::Pvh, mib(1024), mib(2048), 0);
        world.create(8, "db", GuestType::Pv, mib(2048), mib(4096), 0);
        world.create(9, "win", GuestType::Hvm, mib(2048), mib(2048), 16384);
        world
    }

    /// [`World::start`] with a domain in each state beside it: 10 to 19, named for what they show.
    pub fn states() -> Self {
        let mib = Kib::from_mib;
        let mut world = Self::start();
        let mut create = |domid, name| {
            world.create(domid, name, GuestType::Pvh, mib(512), mib(1024), 0);
            domid
        };
        let [paused, incoming, suspended, shut_down, crashed, dying, populating, agent] = [
            (10, "paused"),
            (11, "moved--incoming"),
            (12, "suspended"),
            (13, "shut-down"),
            (14, "crashed"),
            (15, "dying"),
            (16, "populating"),
            (17, "agent"),
        ]
        .map(|(domid, name)| create(domid, name));
        world.create(18, "win-dm", GuestType::Pv, mib(32), mib(32), 0);

        let mut edit = |domid, by: fn(&mut crate::SimDomain)| {
            world.domains.entry(domid).and_modify(by);
        };
        edit(paused, |it| it.paused = true);
        // Received by a migration: 128 of 512 MiB have arrived, the rest is claimed.
        edit(incoming, |it| {
            (it.paused, it.vcpus, it.cpu_time_ms) = (true, 0, 0);
            (it.current_kib, it.outstanding_kib) = (Kib::from_mib(128), Kib::from_mib(384));
        });
        edit(suspended, |it| it.shutdown = Some(ShutdownReason::Suspend));
        edit(shut_down, |it| it.shutdown = Some(ShutdownReason::PowerOff));
        edit(crashed, |it| it.shutdown = Some(ShutdownReason::Crash));
        // Another domain still maps a little of its memory.
        edit(dying, |it| {
            (it.dying, it.shutdown) = (true, Some(ShutdownReason::PowerOff));
            it.current_kib = Kib::from_mib(1);
        });
        // Has populated 256 MiB of its 1024; another 256 are in the cache.
        edit(populating, |it| {
            (it.pod_cache_kib, it.pod_entries_kib) = (Kib::from_mib(256), Kib::from_mib(768));
        });

        for domid in [incoming, dying] {
            world.remove(&format!("/local/domain/{domid}/memory"));
        }
        for (path, value) in [
            (format!("/local/domain/{agent}/data/meminfo_free"), "180224"),
            (format!("/local/domain/{agent}/memory/meminfo"), "200704"),
            ("/local/domain/18/target".to_owned(), "9"),
            ("/local/domain/9/image/device-model-domid".to_owned(), "18"),
        ] {
            world.write(&path, value);
        }
        world.generations.clear();
        world.generation = 0;
        world
    }
}
