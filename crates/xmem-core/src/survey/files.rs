//! The locks and intent records of all domains, by one listing of libxl's state directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xen::Identity;
use xen::lock::LockState;
use xen::userdata::{FileName, Letter};

use crate::diagnosis::KilledChange;
use crate::intent::{self, IntentFile, Record};
use crate::memory::Memory;
use crate::state::State;

/// The kind of the file with a domain's configuration (`libxl__set_domain_configuration`).
const CONFIGURATION: &str = "libxl-json";

/// The files in the state directory that xmem knows, by domain.
#[derive(Debug)]
pub(crate) struct StateFiles {
    dir: PathBuf,
    /// `None` if the directory cannot be listed: then each domain may have any.
    names: Option<BTreeMap<Identity, Vec<FileName>>>,
}

impl StateFiles {
    /// Those in `dir`. A directory that does not exist has none.
    pub(crate) fn of(dir: &Path) -> Self {
        let names = match Self::list(dir) {
            Ok(names) => Some(names),
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "cannot list the state directory");
                None
            }
        };
        Self { dir: dir.to_owned(), names }
    }

    /// The same, for whoever must not take a directory that cannot be listed for an empty one.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn list(dir: &Path) -> io::Result<BTreeMap<Identity, Vec<FileName>>> {
        let mut names: BTreeMap<Identity, Vec<FileName>> = BTreeMap::new();
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            if let Some(name) =
                entry?.file_name().to_str().and_then(|name| name.parse::<FileName>().ok())
                && is_known(&name)
            {
                names.entry(name.identity).or_default().push(name);
            }
        }
        Ok(names)
    }

    /// The state of the domain with this `memory`. libxl writes its configuration last when it builds a domain: one that is
    /// paused, has never run and has none is still being built.
    pub(crate) fn state(&self, memory: &Memory) -> State {
        let is_unfinished = || {
            let names = self.names.as_ref().and_then(|names| names.get(&memory.info.identity));
            memory.info.cpu_time == Duration::ZERO
                && self.names.is_some()
                && !names.is_some_and(|names| names.iter().any(|name| name.kind == CONFIGURATION))
        };
        match State::of(memory) {
            State::Paused if is_unfinished() => State::Building,
            state => state,
        }
    }

    /// The lock of `identity`, and its record if no lock protects it: that of an interrupted change.
    pub(crate) fn of_domain(&self, identity: Identity) -> (LockState, Option<KilledChange>) {
        if self.names.as_ref().is_some_and(|names| !names.contains_key(&identity)) {
            return (LockState::Unlocked, None);
        }
        let file = IntentFile::new(&self.dir, identity);
        loop {
            let before = stamp(file.path());
            let killed = killed(&file);
            // What cannot be looked at is not known to be held, and that is not worth a line.
            let lock = LockState::of(&self.dir, identity).unwrap_or(LockState::Unlocked);
            if killed.is_none() || matches!(lock, LockState::Held(_)) {
                return (lock, None);
            }
            // A change removes its record before it releases its lock. The same file before and after a look at a free
            // lock is therefore nobody's; another one, or none, belongs to a change that was made meanwhile.
            if before.is_some() && stamp(file.path()) == before {
                return (lock, killed);
            }
        }
    }
}

/// Whether the file says anything to xmem.
fn is_known(name: &FileName) -> bool {
    let kinds: &[&str] = match name.letter {
        Letter::Lock => &[xen::userdata::LOCK],
        Letter::Data => &[intent::RECORD, intent::SET_ASIDE, CONFIGURATION],
        Letter::New => &[intent::RECORD],
    };
    kinds.contains(&name.kind.as_str())
}

/// The change that `file` records, if there is one.
fn killed(file: &IntentFile) -> Option<KilledChange> {
    let pid = match file.read() {
        Ok(Record::Absent) => return None,
        Ok(Record::Intent(intent)) => Ok(intent.pid),
        Ok(Record::Foreign { why }) => Err(why),
        Err(error) => {
            tracing::debug!(%error, "an intent record cannot be read");
            // One that is not even known to exist does not count.
            fs::symlink_metadata(file.path()).ok()?;
            Err(error.source.to_string())
        }
    };
    Some(KilledChange { record: file.path().to_owned(), pid })
}

/// Which file it is, and when it was last changed.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}
