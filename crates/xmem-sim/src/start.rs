//! The start worlds of a new directory.

use serde::Deserialize;
use xen::Kib;
use xen::hypervisor::{GuestType, Shutdown, UNLIMITED};

use crate::error::{SimError, words_in_env};
use crate::world::{SimDomain, World};

/// The world of a new directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// [`SimError::Word`].
    pub fn from_env() -> Result<Self, SimError> {
        let chosen: Vec<Self> = words_in_env("XMEM_SIM_WORLD")?;
        Ok(chosen.last().copied().unwrap_or_default())
    }
}

impl World {
    /// A host of 16 GiB with dom0, `web` (domain 7, PVH), `db` (8, PV) and `win` (9, HVM), all in step.
    pub fn start() -> Self {
        let mib = Kib::from_mib;
        let mut world = Self::empty(mib(16 * 1024));
        world.dom0.kernel = Some((6, 12));
        world.create(0, "Domain-0", GuestType::Pv, mib(2048), UNLIMITED, 0);
        world.create(7, "web", GuestType::Pvh, mib(1024), mib(2048), 0);
        world.create(8, "db", GuestType::Pv, mib(2048), mib(4096), 0);
        world.create(9, "win", GuestType::Hvm, mib(2048), mib(2048), 16384);
        world
    }

    /// [`World::start`] and a domain in each state: 10 to 18, named after their states.
    pub fn states() -> Self {
        type Edit = fn(&mut SimDomain);
        let mib = Kib::from_mib;
        let mut world = Self::start();
        let domains: [(u16, &str, Edit); 8] = [
            (10, "paused", |it| it.paused = true),
            // Received by a migration: 128 of 512 MiB have arrived.
            (11, "moved--incoming", |it| {
                (it.paused, it.vcpus, it.cpu_time_ms) = (true, 0, 0);
                (it.current_kib, it.outstanding_kib) = (Kib::from_mib(128), Kib::from_mib(384));
            }),
            (12, "suspended", |it| it.shutdown = Some(Shutdown::Suspend)),
            (13, "shut-down", |it| it.shutdown = Some(Shutdown::PowerOff)),
            (14, "crashed", |it| it.shutdown = Some(Shutdown::Crash)),
            // Another domain still maps a little of its memory.
            (15, "dying", |it| (it.dying, it.current_kib) = (true, Kib::from_mib(1))),
            // Has populated 256 of its 1024 MiB; the cache holds another 256.
            (16, "populating", |it| {
                (it.pod_cache_kib, it.pod_entries_kib) = (Kib::from_mib(256), Kib::from_mib(768));
            }),
            (17, "agent", |_| ()),
        ];
        for (domid, name, edit) in domains {
            edit(world.create(domid, name, GuestType::Pvh, mib(512), mib(1024), 0));
        }
        world.create(18, "win-dm", GuestType::Pv, mib(32), mib(32), 0);
        for path in ["/local/domain/11/memory", "/local/domain/15/memory"] {
            world.remove(path);
        }
        for (path, value) in [
            ("/local/domain/17/data/meminfo_free", "180224"),
            ("/local/domain/17/memory/meminfo", "200704"),
            ("/local/domain/18/target", "9"),
            ("/local/domain/9/image/device-model-domid", "18"),
        ] {
            world.write(path, value);
        }
        world
    }
}
