//! What a domain is doing: running, paused, being built, suspended, shut down, crashed or dying.

use xen::hypervisor::DomainInfo;

use crate::memory::Memory;

/// What a domain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It runs, or waits for an event.
    Running,
    /// A toolstack has paused it.
    Paused,
    /// It is being created, restored or received, and has never run.
    Building,
    /// Its guest has suspended itself: it is being saved or migrated.
    Suspended,
    /// It has powered off or wants a reboot, and is kept or about to be destroyed.
    ShutDown,
    /// It crashed, or its watchdog expired, and is kept or about to be destroyed.
    Crashed,
    /// It is dead; its memory goes when the last user of it lets go.
    Dying,
}

/// Whether a guest in some state follows its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It does, if its balloon driver works.
    Now,
    /// Not before it runs again: it may.
    Later,
    /// Never again.
    Never,
}

impl State {
    /// The state of a domain with this `memory`.
    pub fn of(memory: &Memory) -> Self {
        let DomainInfo { .. } = memory.info;
        todo!()
    }

    /// The state's name: stable, for programs and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Building => "building",
            Self::Suspended => "suspended",
            Self::ShutDown => "shut-down",
            Self::Crashed => "crashed",
            Self::Dying => "dying",
        }
    }

    /// Whether its guest follows a target.
    pub const fn follows(self) -> Follows {
        match self {
            Self::Running => Follows::Now,
            Self::Paused | Self::Building | Self::Suspended => Follows::Later,
            Self::ShutDown | Self::Crashed | Self::Dying => Follows::Never,
        }
    }
}
