//! The intent record: a file with the numbers before and after a change, kept while the change is made. After a kill,
//! the next run recovers from it.
//!
//! It is a file beside libxl's own, so that libxl removes it together with the domain. It is used under the domain's
//! lock. A file that this xmem does not understand is never trusted: it is moved aside and reported.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use xen::Identity;
use xen::escape::{Escaped, beginning, escaped_path};
use xen::userdata::{FileName, Letter};

use crate::memory::Numbers;

/// The kind of the record's file, in libxl's naming.
pub const RECORD: &str = "xmem-intent";
/// The kind of a record that was moved aside.
pub const SET_ASIDE: &str = "xmem-intent-foreign";

/// The version of the file's format.
const VERSION: u32 = 1;
/// The most bytes of a record. A longer file is not a record.
const MAX_BYTES: u64 = 4096;
/// The most characters of a reason why a file is not a record.
const LONGEST_WHY: usize = 200;

/// A change in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    version: u32,
    /// The boot of the host in which it was written; `None` if that is not known.
    #[serde(default)]
    boot: Option<String>,
    /// The process that makes the change.
    pub pid: u32,
    /// The numbers before it.
    pub old: Numbers,
    /// The numbers after it.
    pub new: Numbers,
}

/// Why an intent record cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the intent record {}", escaped_path(path))]
pub struct IntentError {
    /// The operation.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}

/// The content of a record's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing: the last change ended properly.
    Absent,
    /// The record of a change that is in progress, or was killed.
    Intent(Intent),
    /// Not a complete record of this xmem.
    Foreign {
        /// The reason why it is not trusted.
        why: String,
    },
}

/// The paths of one domain's intent record.
#[derive(Debug)]
pub struct IntentFile {
    path: PathBuf,
    draft: PathBuf,
    aside: PathBuf,
}

impl IntentFile {
    /// The record of `identity` in the state directory `dir`.
    pub fn new(dir: &Path, identity: Identity) -> Self {
        let file =
            |letter, kind: &str| FileName { letter, identity, kind: kind.to_owned() }.in_dir(dir);
        Self {
            path: file(Letter::Data, RECORD),
            draft: file(Letter::New, RECORD),
            aside: file(Letter::Data, SET_ASIDE),
        }
    }

    /// The record's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records the intent to go from `old` to `new`: completely or not at all.
    ///
    /// Not fsynced: it guards against a kill of the process, and domains do not outlive their host.
    ///
    /// # Errors
    /// The operating system's. No file is left then.
    pub fn write(&self, old: Numbers, new: Numbers) -> Result<(), IntentError> {
        let intent = Intent { version: VERSION, boot: boot(), pid: std::process::id(), old, new };
        let draft = || {
            let text = serde_json::to_vec(&intent)?;
            let create = || {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .custom_flags(flags(OFlags::CLOEXEC | OFlags::NOFOLLOW))
                    .open(&self.draft)
            };
            let mut draft = match create() {
                // Left by a killed run. It is not written through, since it may be a link.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    remove(&self.draft)?;
                    create()?
                }
                created => created?,
            };
            draft.write_all(&text)?;
            fs::rename(&self.draft, &self.path)
        };
        draft().map_err(|source| {
            if let Err(error) = remove(&self.draft) {
                tracing::warn!(path = %self.draft.display(), %error, "a draft of an intent record is left behind");
            }
            self.error("write", source)
        })
    }

    /// Removes the record: the change is complete or rolled back.
    ///
    /// # Errors
    /// The operating system's, other than that it does not exist.
    pub fn remove(&self) -> Result<(), IntentError> {
        remove(&self.path).map_err(|source| self.error("remove", source))
    }

    /// Reads the record.
    ///
    /// # Errors
    /// The operating system's, other than that it does not exist.
    pub fn read(&self) -> Result<Record, IntentError> {
        let foreign = |why: &str| Ok(Record::Foreign { why: why.to_owned() });
        let no_wait = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags(no_wait)).open(&self.path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::Absent),
            Err(source) => {
                return match Errno::from_io_error(&source) {
                    Some(Errno::LOOP) => foreign("it is a symbolic link"),
                    // A socket, or a device without a driver, cannot be opened at all.
                    Some(Errno::NXIO) => foreign("it is not a regular file"),
                    _ => Err(self.error("read", source)),
                };
            }
        };
        if !file.metadata().map_err(|source| self.error("read", source))?.is_file() {
            return foreign("it is not a regular file");
        }
        let mut text = Vec::new();
        file.take(MAX_BYTES.saturating_add(1))
            .read_to_end(&mut text)
            .map_err(|source| self.error("read", source))?;
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > MAX_BYTES) {
            return foreign("it is too long");
        }
        Ok(parse(&text))
    }

    /// Moves the record aside, to a name that libxl still removes with the domain. Returns its new path.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_aside(&self) -> Result<PathBuf, IntentError> {
        let path = self.aside.clone();
        match fs::rename(&self.path, &path) {
            Ok(()) => Ok(path),
            // A directory has this name already.
            Err(source) if path.is_dir() => Err(IntentError { action: "replace", path, source }),
            Err(source) => Err(self.error("move aside", source)),
        }
    }

    fn error(&self, action: &'static str, source: io::Error) -> IntentError {
        IntentError { action, path: self.path.clone(), source }
    }
}

/// The record in a file with the content `text`.
pub fn parse(text: &[u8]) -> Record {
    let foreign = |why: &str| Record::Foreign { why: why.to_owned() };
    match serde_json::from_slice::<Intent>(text) {
        Ok(intent) if intent.version != VERSION => {
            foreign(&format!("its version is {}, and this xmem knows {VERSION}", intent.version))
        }
        // The file outlives its host, and dom0 has the same domid and UUID after the next boot.
        Ok(intent) if intent.boot.is_some() && intent.boot != boot() => {
            foreign("it was written before this host was booted")
        }
        Ok(intent) => Record::Intent(intent),
        // The reason repeats what the file contains.
        Err(error) => foreign(&Escaped(beginning(&error.to_string(), LONGEST_WHY).0).to_string()),
    }
}

/// The kernel's name for the present boot (`random(4)`).
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Removes `path`, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
