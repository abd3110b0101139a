//! The locks and intent records of all domains, by one listing of libxl's state directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use xen::Identity;
use xen::lock::LockState;
use xen::userdata::{FileName, Letter};

use crate::diagnosis::KilledChange;
use crate::intent::{self, IntentFile, Record};

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

    /// The names in `dir`. Fails for a directory that cannot be listed, which may not be taken for an empty one.
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

    /// The lock of `identity`, and its record if no lock protects it: that of an interrupted change.
    pub(crate) fn of_domain(&self, identity: Identity) -> (LockState, Option<KilledChange>) {
        if self.names.as_ref().is_some_and(|names| !names.contains_key(&identity)) {
            return (LockState::Unlocked, None);
        }
        // A lock that cannot be examined is not known to be held, and is not reported.
        let lock = || LockState::of(&self.dir, identity).unwrap_or(LockState::Unlocked);
        unprotected(&IntentFile::new(&self.dir, identity), lock)
    }
}

/// A domain's lock, and the change that `file` records if no lock protects it.
fn unprotected(
    file: &IntentFile,
    mut lock: impl FnMut() -> LockState,
) -> (LockState, Option<KilledChange>) {
    loop {
        let before = stamp(file.path());
        let killed = killed(file);
        let lock = lock();
        if killed.is_none() || matches!(lock, LockState::Held(_)) {
            return (lock, None);
        }
        // A change removes its record before it releases its lock. So if the lock was free and the file is the same
        // before and after, no run is using it. Another file, or none, belongs to a change that was made meanwhile.
        if before.is_some() && stamp(file.path()) == before {
            return (lock, killed);
        }
    }
}

/// Whether xmem uses the file.
fn is_known(name: &FileName) -> bool {
    let kinds: &[&str] = match name.letter {
        Letter::Lock => &[xen::userdata::LOCK],
        Letter::Data => &[intent::RECORD, intent::SET_ASIDE],
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
            // A file that may not exist is no record.
            fs::symlink_metadata(file.path()).ok()?;
            Err(error.source.to_string())
        }
    };
    Some(KilledChange { record: file.path().to_owned(), pid })
}

/// The file's device and inode number, and the time of its last change.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use xen::lock::Holder;
    use xen::{DomId, Kib, Uuid};

    use super::*;
    use crate::memory::Numbers;

    fn record(dir: &Path) -> IntentFile {
        IntentFile::new(dir, Identity { domid: DomId::DOM0, uuid: Uuid::nil() })
    }

    fn write(record: &IntentFile) {
        let numbers = Numbers { target: None, static_max: None, limit: Kib(4) };
        record.write(numbers, numbers).unwrap();
    }

    #[test]
    fn a_record_that_nobody_removes_is_a_killed_change() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        write(&record);
        let (lock, killed) = unprotected(&record, || LockState::Stale);
        assert_eq!((lock, killed.unwrap().pid), (LockState::Stale, Ok(std::process::id())));
    }

    /// The change ends after its record was read and before its lock is examined.
    #[test]
    fn the_record_of_a_change_that_has_just_ended_is_not_a_killed_change() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        write(&record);
        let ends = || {
            record.remove().unwrap();
            LockState::Unlocked
        };
        assert_eq!(unprotected(&record, ends), (LockState::Unlocked, None));
        // The same, and the next change has begun.
        write(&record);
        let mut looks = 0;
        let next_begins = || {
            looks += 1;
            let holder = Holder { pid: 4711, command: String::new(), has_ended: false };
            if looks > 1 {
                return LockState::Held(holder);
            }
            record.remove().unwrap();
            write(&record);
            LockState::Unlocked
        };
        let (lock, killed) = unprotected(&record, next_begins);
        assert!(matches!(lock, LockState::Held(_)) && killed.is_none());
    }

    /// A directory that cannot be listed may have files of any domain.
    #[test]
    fn a_record_is_looked_for_in_a_directory_that_cannot_be_listed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let identity = Identity { domid: DomId::DOM0, uuid: Uuid::nil() };
        assert!(StateFiles::of(&file).names.is_none());
        assert_eq!(StateFiles::of(&file).of_domain(identity), (LockState::Unlocked, None));
        assert!(StateFiles::list(&dir.path().join("missing")).unwrap().is_empty());
    }
}
