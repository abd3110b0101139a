//! The state of a domain: running, paused, being built, suspended, shut down, crashed or dying.

use std::fmt;
use std::io;
use std::time::Duration;

use xen::Host;
use xen::hypervisor::{DomainInfo, Shutdown};
use xen::userdata::{FileName, Letter};

use crate::domain::Name;
use crate::memory::Memory;

/// The suffix that libxl appends to the name of a domain that it is receiving (`tools/xl/xl_migrate.c`).
const INCOMING: &str = "--incoming";
/// The kind of the last file that libxl writes when it builds a domain.
const JSON: &str = "libxl-json";

/// The state of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It runs, or waits for an event.
    Running,
    /// A toolstack has paused it.
    Paused,
    /// It is being created, restored or received, and has never run.
    Building,
    /// Its guest has suspended itself, to be saved, migrated or reset in place.
    Suspended,
    /// It has powered off or wants a reboot, and is kept or about to be destroyed.
    ShutDown,
    /// It crashed, or its watchdog expired, and is kept or about to be destroyed.
    Crashed,
    /// It is dead; its memory is freed once its last user releases it.
    Dying,
}

/// Whether a guest in some state follows its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It does, if its balloon driver works.
    Now,
    /// Not before it runs again, which it may.
    Later,
    /// Never again.
    Never,
}

impl State {
    /// The state of a domain with this `memory` on `host`.
    ///
    /// A domain has all its nodes a moment before libxl has finished building it. The last sign is a file in
    /// libxl's state directory, which is checked only if the domain is paused and has never run.
    pub fn on(host: &dyn Host, memory: &Memory) -> Self {
        match Self::of(memory) {
            Self::Paused if has_never_run(memory) && lacks_json(host, memory) => Self::Building,
            state => state,
        }
    }

    /// The state that `memory` shows.
    pub fn of(memory: &Memory) -> Self {
        match Self::shown_by(&memory.info) {
            Self::Paused if is_unfinished(memory) => Self::Building,
            state => state,
        }
    }

    /// The state that the hypervisor shows: a domain that is being built is paused.
    pub const fn shown_by(info: &DomainInfo) -> Self {
        match info.shutdown {
            _ if info.dying => Self::Dying,
            Some(Shutdown::Crash | Shutdown::Watchdog) => Self::Crashed,
            Some(Shutdown::Suspend | Shutdown::SoftReset) => Self::Suspended,
            Some(_) => Self::ShutDown,
            None if info.paused => Self::Paused,
            None => Self::Running,
        }
    }

    /// The state's name: stable, for programs.
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

/// For people, after "the domain is": `being created, restored or migrated here`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Building => "being created, restored or migrated here",
            Self::ShutDown => "shut down",
            other => other.word(),
        })
    }
}

/// Whether a paused domain has never run and still lacks something: a virtual processor with its registers, a node, or
/// its final name. A domain that `xl create -p` has finished lacks none of these.
fn is_unfinished(memory: &Memory) -> bool {
    let lacks_nodes = matches!(memory.target, Ok(None)) || matches!(memory.static_max, Ok(None));
    let lacks_name = memory.name.as_ref().is_some_and(is_incoming);
    has_never_run(memory) && (memory.info.online_vcpus == 0 || lacks_nodes || lacks_name)
}

fn has_never_run(memory: &Memory) -> bool {
    memory.info.cpu_time == Duration::ZERO
}

fn lacks_json(host: &dyn Host, memory: &Memory) -> bool {
    let identity = memory.info.identity;
    let file = FileName { letter: Letter::Data, identity, kind: JSON.to_owned() };
    let found = file.in_dir(host.state_dir()).symlink_metadata();
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether a migration is receiving the domain of that name.
fn is_incoming(name: &Name) -> bool {
    name.0.ends_with(INCOMING)
}

/// The name of the domain that receives the domain `name`, if it is being migrated to the same host.
pub(crate) fn incoming_name(name: &Name) -> Name {
    Name(format!("{}{INCOMING}", name.0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use xen::hypervisor::Hypervisor;
    use xen::xenstore::{Store, StoreError};
    use xen::{Kib, Uuid};

    use super::*;

    /// A domain that `xl create -p` has finished.
    fn created_paused() -> Memory {
        let info = DomainInfo { paused: true, cpu_time: Duration::ZERO, ..crate::testing::info(7) };
        Memory {
            name: Some(Name("web".to_owned())),
            target: Ok(Some(Kib(4))),
            static_max: Ok(Some(Kib(4))),
            ..Memory::of(info)
        }
    }

    fn with(change: impl FnOnce(&mut Memory)) -> State {
        let mut memory = created_paused();
        change(&mut memory);
        State::of(&memory)
    }

    #[test]
    fn a_domain_is_building_until_nothing_is_missing() {
        assert_eq!(State::of(&created_paused()), State::Paused);
        assert_eq!(with(|memory| memory.info.online_vcpus = 0), State::Building);
        assert_eq!(with(|memory| memory.target = Ok(None)), State::Building);
        assert_eq!(with(|memory| memory.static_max = Ok(None)), State::Building);
        let incoming = Some(Name("web--incoming".to_owned()));
        assert_eq!(with(|memory| memory.name = incoming.clone()), State::Building);
    }

    /// `xl claim` and other programs can claim memory for a finished domain.
    #[test]
    fn claimed_memory_does_not_make_a_domain_building() {
        assert_eq!(with(|memory| memory.info.outstanding = Kib(4)), State::Paused);
    }

    /// A host whose libxl state directory alone is read.
    struct StateDir<'a>(&'a Path);

    impl Host for StateDir<'_> {
        fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
            unreachable!()
        }
        fn hypervisor(&self) -> &dyn Hypervisor {
            unreachable!()
        }
        fn state_dir(&self) -> &Path {
            self.0
        }
    }

    #[test]
    fn a_domain_is_building_until_libxl_has_written_its_last_file() {
        let dir = tempfile::tempdir().unwrap();
        let host = StateDir(dir.path());
        let mut memory = created_paused();
        assert_eq!(State::on(&host, &memory), State::Building);
        memory.info.cpu_time = Duration::from_secs(1);
        assert_eq!(State::on(&host, &memory), State::Paused);
        memory.info.cpu_time = Duration::ZERO;
        let file = format!("userdata-d.7.{}.libxl-json", Uuid::nil());
        fs::write(dir.path().join(file), "").unwrap();
        assert_eq!(State::on(&host, &memory), State::Paused);
        memory.info.paused = false;
        assert_eq!(State::on(&StateDir(Path::new("/nonexistent")), &memory), State::Running);
    }

    #[test]
    fn a_domain_that_has_run_is_not_building_whatever_it_lacks() {
        let empty = |memory: &mut Memory| {
            *memory = Memory::of(memory.info);
            memory.info.cpu_time = Duration::from_nanos(1);
        };
        assert_eq!(with(empty), State::Paused);
        let running = |memory: &mut Memory| {
            memory.info.paused = false;
            memory.target = Ok(None);
        };
        assert_eq!(with(running), State::Running);
    }

    #[test]
    fn each_shutdown_reason_is_a_state() {
        for (reason, state) in [
            (Shutdown::PowerOff, State::ShutDown),
            (Shutdown::Reboot, State::ShutDown),
            (Shutdown::Suspend, State::Suspended),
            (Shutdown::Crash, State::Crashed),
            (Shutdown::Watchdog, State::Crashed),
            (Shutdown::SoftReset, State::Suspended),
            (Shutdown::Other(99), State::ShutDown),
        ] {
            assert_eq!(with(|memory| memory.info.shutdown = Some(reason)), state, "{reason:?}");
            let dying = with(|memory| {
                memory.info.shutdown = Some(reason);
                memory.info.dying = true;
            });
            assert_eq!(dying, State::Dying);
        }
    }
}
