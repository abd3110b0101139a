//! What a change is about to do, on disk while it does it: for whoever comes after a kill.
//!
//! Owns the intent file, which stands beside libxl's own userdata so that libxl removes it together
//! with the domain. Must be used under the domain's lock. Never believes a file that it did not
//! understand: such a file is set aside, and said.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::domain::Identity;
use crate::harmless::{Harmless, beginning};
use crate::lock::userdata_path;
use crate::process;
use crate::size::Kib;

/// The version of the file's format.
const VERSION: u32 = 1;
/// More than any intent needs; what is longer is none.
const MOST_BYTES: u64 = 4096;
/// How many characters are told of why a file is none.
const LONGEST_WHY: usize = 200;

/// A domain's three numbers, in KiB. `None`: not there (dom0 before anybody set its memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// `memory/target` in xenstore.
    #[serde(rename = "target_kib")]
    pub target: Option<Kib>,
    /// `memory/static-max` in xenstore.
    #[serde(rename = "static_max_kib")]
    pub static_max: Option<Kib>,
    /// The hypervisor's limit.
    #[serde(rename = "limit_kib")]
    pub limit: Kib,
}

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    version: u32,
    /// Which start of the host it belongs to; `None` where that cannot be known.
    #[serde(default)]
    boot: Option<Box<str>>,
    /// The process that makes the change.
    pub pid: u32,
    /// What was there before.
    pub old: Numbers,
    /// What is there when it is done.
    pub new: Numbers,
}

/// Why an intent cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct IntentError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The operating system's word.
    pub source: io::Error,
}

/// What stands in the intent's place.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the last change ended as it should.
    Nothing,
    /// A change was cut off.
    Intent(Intent),
    /// Something that xmem did not write, or not to its end.
    Foreign {
        /// Why it is not believed.
        why: String,
    },
}

/// The place of one domain's intent.
#[derive(Debug)]
pub struct IntentFile {
    path: PathBuf,
    draft: PathBuf,
}

impl IntentFile {
    /// The intent of `identity` in the state folder `dir`.
    pub fn new(dir: &Path, identity: Identity) -> Self {
        Self {
            path: userdata_path(dir, 'd', identity, "xmem-intent"),
            draft: userdata_path(dir, 'n', identity, "xmem-intent"),
        }
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the intent to go from `old` to `new`. It is there whole or not at all.
    ///
    /// Not fsynced: it guards against the death of a process. Domains do not outlive their host.
    ///
    /// # Errors
    /// The operating system's; nothing is left behind then.
    pub fn write(&self, old: Numbers, new: Numbers) -> Result<(), IntentError> {
        let intent = Intent { version: VERSION, boot: boot(), pid: process::pid(), old, new };
        let drafted = || {
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
                // What a killed run left. Never written through: it may be a link.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    remove(&self.draft)?;
                    create()?
                }
                created => created?,
            };
            draft.write_all(&text)
        };
        let written = drafted().map_err(|source| (&self.draft, source)).and_then(|()| {
            fs::rename(&self.draft, &self.path).map_err(|source| (&self.path, source))
        });
        written.map_err(|(path, source)| {
            // The first failure is the one to tell; a draft is never believed anyway.
            if let Err(error) = remove(&self.draft) {
                tracing::warn!(path = %self.draft.display(), %error, "a draft is left behind");
            }
            IntentError { action: "write", path: path.clone(), source }
        })
    }

    /// Removes the intent: the change is done, or undone.
    ///
    /// # Errors
    /// The operating system's, other than that it is gone.
    pub fn remove(&self) -> Result<(), IntentError> {
        remove(&self.path).map_err(|source| self.error("remove", source))
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The operating system's, other than that it is not there.
    pub fn read(&self) -> Result<Found, IntentError> {
        let foreign = |why: &str| Ok(Found::Foreign { why: why.to_owned() });
        let no_wait = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags(no_wait)).open(&self.path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return foreign("it is a symbolic link");
            }
            // A socket, or a device without a driver, cannot be opened at all.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                return foreign("it is not a regular file");
            }
            Err(source) => return Err(self.error("read", source)),
        };
        let kind = file.metadata().map_err(|source| self.error("read", source))?;
        if !kind.is_file() {
            return foreign("it is not a regular file");
        }
        let mut text = Vec::new();
        file.take(MOST_BYTES.saturating_add(1))
            .read_to_end(&mut text)
            .map_err(|source| self.error("read", source))?;
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > MOST_BYTES) {
            return foreign("it is too long");
        }
        Ok(parse(&text))
    }

    /// Moves what is there out of the way, to a name that libxl still removes with the domain, and
    /// says where it is now.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_aside(&self) -> Result<PathBuf, IntentError> {
        let mut aside = self.path.clone().into_os_string();
        aside.push("-foreign");
        let aside = PathBuf::from(aside);
        fs::rename(&self.path, &aside).map_err(|source| self.error("set aside", source))?;
        Ok(aside)
    }

    fn error(&self, action: &'static str, source: io::Error) -> IntentError {
        IntentError { action, path: self.path.clone(), source }
    }
}

/// What `text`, which stands in an intent's place, is.
pub fn parse(text: &[u8]) -> Found {
    let foreign = |why: &str| Found::Foreign { why: why.to_owned() };
    match serde_json::from_slice::<Intent>(text) {
        Ok(intent) if intent.version != VERSION => {
            foreign(&format!("its version is {}, and this xmem knows {VERSION}", intent.version))
        }
        // The file outlives its host, and dom0 is called the same in the next life.
        Ok(intent) if intent.boot.is_some() && intent.boot != boot() => {
            foreign("it was written before this host was started")
        }
        Ok(intent) => Found::Intent(intent),
        // The reason repeats what stands in the file.
        Err(error) => foreign(&Harmless(beginning(&error.to_string(), LONGEST_WHY).0).to_string()),
    }
}

/// What the kernel calls the time since it was started (`random(4)`).
fn boot() -> Option<Box<str>> {
    // It outlives every process.
    static BOOT: OnceLock<Option<Box<str>>> = OnceLock::new();
    BOOT.get_or_init(|| process::word("/proc/sys/kernel/random/boot_id")).clone()
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Removes `path`; not being there is as good.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::domain::{DomId, Uuid};

    fn place(dir: &Path) -> IntentFile {
        IntentFile::new(dir, Identity { domid: DomId::DOM0, uuid: Uuid::default() })
    }

    fn numbers(target: u64) -> Numbers {
        Numbers { target: Some(Kib(target)), static_max: None, limit: Kib(target + 1024) }
    }

    #[test]
    fn written_read_removed() {
        let dir = tempfile::tempdir().unwrap();
        let intent = place(dir.path());
        assert_eq!(intent.read().unwrap(), Found::Nothing);
        intent.write(numbers(8), numbers(4)).unwrap();
        intent.write(numbers(4), numbers(8)).unwrap();
        let Found::Intent(found) = intent.read().unwrap() else { panic!() };
        assert_eq!((found.old, found.new, found.pid), (numbers(4), numbers(8), std::process::id()));
        intent.remove().unwrap();
        intent.remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_name_is_one_that_libxl_removes() {
        let path = place(Path::new("/var/lib/xen")).path;
        let name = "userdata-d.0.00000000-0000-0000-0000-000000000000.xmem-intent";
        assert_eq!(path, Path::new("/var/lib/xen").join(name));
    }

    #[test]
    fn what_xmem_did_not_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let intent = place(dir.path());
        let good = r#"{"version":1,"pid":1,"old":{"target_kib":4,"static_max_kib":4,"limit_kib":4},"new":{"target_kib":4,"static_max_kib":4,"limit_kib":4}}"#;
        for text in [
            "",
            "{",
            &good[..good.len() - 1],
            &good.replace(":1,\"pid\"", ":2,\"pid\""),
            &good.replace("\"pid\":1", "\"pid\":-1"),
            &good.replace("\"limit_kib\":4", "\"limit_kib\":1e99"),
            // Of another life of the host.
            &good.replace("\"pid\"", "\"boot\":\"0f0f0f0f-0000-4000-8000-000000000000\",\"pid\""),
            &" ".repeat(100_000),
            "\u{0}\u{1b}[2J",
        ] {
            fs::write(intent.path(), text).unwrap();
            assert!(matches!(intent.read().unwrap(), Found::Foreign { .. }), "{text:.40}");
            let aside = intent.set_aside().unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert_eq!(intent.read().unwrap(), Found::Nothing);
        }
        fs::create_dir(intent.path()).unwrap();
        assert!(matches!(intent.read().unwrap(), Found::Foreign { .. }));
        fs::remove_dir(intent.path()).unwrap();
        symlink("/dev/zero", intent.path()).unwrap();
        assert!(matches!(intent.read().unwrap(), Found::Foreign { .. }));
    }
}
