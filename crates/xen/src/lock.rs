//! libxl's per-domain userdata lock, to the letter, with a deadline.
//!
//! The lock file's life: open, flock(2), check that the path still leads to the locked file, unlink, then close
//! (`libxl__lock_file` and `libxl__unlock_file`, `tools/libs/light/libxl_internal.c`). A file that is not held is never
//! unlinked: two holders would be possible from then on.

mod holder;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs2::FileExt as _;
use rustix::fs::OFlags;

pub use self::holder::Holder;
use self::holder::{HeldBy, holder};
use crate::domain::Identity;
use crate::interrupt::Interrupt;
use crate::userdata::FileName;

/// How long to keep retrying at least while other processes keep replacing the lock file, even with no timeout.
const GRACE: Duration = Duration::from_secs(1);

/// The pauses between two tries. flock(2) has no deadline, and libxl's protocol no queue: the file is unlinked at every
/// release, so that all waiters start over.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What is at a lock's path, without touching it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// No file: nobody has locked the domain.
    Unlocked,
    /// A file that nobody holds: its holder died. The next one reuses it.
    Stale,
    /// Somebody holds it.
    Held(Holder),
    /// Something that can be no lock: a link, a directory.
    Unusable,
}

impl LockState {
    /// Looks at the lock of `identity` in the state directory `dir`.
    ///
    /// # Errors
    /// The operating system's, for a directory that may not be searched.
    pub fn of(dir: &Path, identity: Identity) -> io::Result<Self> {
        let file = match fs::symlink_metadata(FileName::lock(identity).in_dir(dir)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Unlocked),
            Err(error) => return Err(error),
        };
        if !file.is_file() {
            return Ok(Self::Unusable);
        }
        Ok(holder(file.dev(), file.ino()).map_or(Self::Stale, Self::Held))
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process held it all the time.
    #[error("timed out after {} s waiting for the domain's lock{}", waited.as_secs_f64(), HeldBy(holder.as_ref()))]
    Busy {
        /// How long it was waited for.
        waited: Duration,
        /// Who holds it, if the kernel says.
        holder: Option<Holder>,
    },
    /// The caller interrupted the wait.
    #[error("interrupted while waiting for the domain's lock")]
    Interrupted,
    /// Something else is in the lock's place.
    #[error("the lock's path {} is not a regular file", path.display())]
    NotAFile {
        /// The lock's path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} the lock {}", path.display())]
    Os {
        /// What was tried.
        action: &'static str,
        /// The lock's path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A domain's lock, held. Dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    /// Closed, and with that unlocked, when the lock goes.
    _file: File,
    inode: Inode,
    path: PathBuf,
}

/// Which file it is, whatever path leads to it: device and number.
type Inode = (u64, u64);

impl Lock {
    /// Takes the lock of `identity` in the state directory `dir`. Waits for `timeout` at most, and no longer than until
    /// `interrupt` ends the wait.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(
        dir: &Path,
        identity: Identity,
        timeout: Duration,
        interrupt: &dyn Interrupt,
    ) -> Result<Self, LockError> {
        let path = FileName::lock(identity).in_dir(dir);
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let (file, inode) = open(&path)?;
            let os = |action| {
                let path = path.clone();
                move |source| LockError::Os { action, path, source }
            };
            let deadline = match file.try_lock_exclusive() {
                // The holder before may have unlinked the file between our open and our lock.
                Ok(()) => match leads_to(&path, inode).map_err(os("check"))? {
                    true => return Ok(Self { _file: file, inode, path }),
                    false => timeout.max(GRACE),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => timeout,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(os("take")(source)),
            };
            let holder = || holder(inode.0, inode.1);
            let Some(left) = deadline.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
            else {
                return Err(LockError::Busy { waited: timeout, holder: holder() });
            };
            interrupt.waiting_for(&format_args!("the domain's lock{}", HeldBy(holder().as_ref())));
            if interrupt.sleep(pause.min(left)) {
                return Err(LockError::Interrupted);
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Whether the path still leads to the locked file. libxl's failure paths can unlink a lock that another process
    /// holds; from then on it protects nothing.
    ///
    /// # Errors
    /// The operating system's.
    pub fn still_held(&self) -> io::Result<bool> {
        leads_to(&self.path, self.inode)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Unlink before close: otherwise a second process could lock the file in between and have it unlinked under it.
        // A file that is left behind, unlocked, is harmless.
        let path = self.path.display();
        match self.still_held() {
            Ok(true) => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(%path, %error, "cannot remove the lock file");
                }
            }
            Ok(false) => {
                tracing::warn!(%path, "another program removed the lock file while the lock was held")
            }
            Err(error) => tracing::warn!(%path, %error, "cannot check the lock file"),
        }
    }
}

/// Whether `path` leads to the file that is open as `inode`, whose number no other file can have meanwhile.
fn leads_to(path: &Path, inode: Inode) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == inode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the lock file, creating it if need be. Neither follows a link nor waits at a FIFO.
fn open(path: &Path) -> Result<(File, Inode), LockError> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let not_a_file = || LockError::NotAFile { path: path.to_owned() };
    let os = |source: io::Error| match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => not_a_file(),
        _ => LockError::Os { action: "open", path: path.to_owned(), source },
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o666)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(os)?;
    let there = file.metadata().map_err(os)?;
    if there.is_file() { Ok((file, (there.dev(), there.ino()))) } else { Err(not_a_file()) }
}
