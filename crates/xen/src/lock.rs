//! libxl's per-domain userdata lock, by libxl's protocol, with a deadline.
//!
//! To lock: open the file, flock(2) it, check that the path still leads to it; else start over. To release: unlink the
//! file, then close it (`libxl__lock_file` and `libxl__unlock_file`, `tools/libs/light/libxl_internal.c`). A file that is
//! not locked is never unlinked, since two processes could hold the lock from then on.
//!
//! There is no queue: every release unlinks the file, so all waiters start over, and a later one may get the lock first.
//!
//! ```
//! use std::time::Duration;
//! use xen::lock::{Lock, LockError, LockState};
//! use xen::{DomId, Identity, NoInterrupt, Uuid};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let web = Identity { domid: DomId::new(7).unwrap(), uuid: Uuid::from_u128(7) };
//! let lock = Lock::take(dir, web, Duration::from_secs(60), &NoInterrupt)?;
//! assert!(matches!(LockState::of(dir, web)?, LockState::Held(_)));
//! let second = Lock::take(dir, web, Duration::ZERO, &NoInterrupt);
//! assert!(matches!(second, Err(LockError::Busy { .. })));
//! drop(lock);
//! assert_eq!(LockState::of(dir, web)?, LockState::Unlocked);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod holder;

use std::fmt;
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

/// The minimum time to keep retrying while other processes keep replacing the lock file, even with no timeout.
const GRACE: Duration = Duration::from_secs(1);

/// The first pause between two tries, which doubles up to [`LONGEST_PAUSE`]. flock(2) has no deadline, so it is polled.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The state of a domain's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// There is no lock file.
    Unlocked,
    /// There is a lock file that no process holds, since its last holder was killed. The next holder reuses it.
    Stale,
    /// A process holds the lock.
    Held(Holder),
    /// The lock's path is not a regular file, so that nobody can take the lock.
    Unusable,
}

impl LockState {
    /// The state of the lock of `identity` in the state directory `dir`. Does not open the file.
    ///
    /// # Errors
    /// The operating system's, such as for a directory that may not be searched.
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
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LockError {
    /// Other processes held it until the timeout.
    #[error("{}{}", Waited(*waited), HeldBy(holder.as_ref()))]
    Busy { waited: Duration, holder: Option<Holder> },
    /// The caller interrupted the wait.
    #[error("interrupted while waiting for the domain's lock")]
    Interrupted,
    /// The lock's path is a link, a directory or another file that is not regular.
    #[error("the lock's path {} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// The operating system refused.
    #[error("cannot {action} the lock {}", path.display())]
    Os { action: &'static str, path: PathBuf, source: io::Error },
}

/// `timed out after 60 s waiting for the domain's lock`, or `cannot take the domain's lock` if it did not wait.
struct Waited(Duration);

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("cannot take the domain's lock");
        }
        // To the millisecond: a timeout can be the rest of another one.
        let seconds = format!("{}.{:03}", self.0.as_secs(), self.0.subsec_millis());
        let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
        write!(f, "timed out after {seconds} s waiting for the domain's lock")
    }
}

/// A domain's lock, held. Dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    /// Closing it unlocks it.
    _file: File,
    inode: Inode,
    path: PathBuf,
}

/// A file's device and inode number.
type Inode = (u64, u64);

impl Lock {
    /// Takes the lock of `identity` in the state directory `dir`. Waits for `timeout` at most, and only until `interrupt`
    /// ends the wait. Gives no order among waiters.
    ///
    /// The caller must check afterwards that the domain still exists with the same UUID, as libxl does.
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
            let limit = match file.try_lock_exclusive() {
                // The previous holder may have unlinked the file between open and flock.
                Ok(()) if leads_to(&path, inode).map_err(os("check"))? => {
                    return Ok(Self { _file: file, inode, path });
                }
                Ok(()) => timeout.max(GRACE),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => timeout,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(os("take")(source)),
            };
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(LockError::Busy { waited: timeout, holder: holder(inode.0, inode.1) });
            }
            interrupt.waiting_for(&Wait(inode));
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
        // Unlink before close: otherwise another process could lock the file in between and lose it to the unlink. A file
        // that is left behind unlocked is harmless.
        let path = self.path.display();
        match self.still_held() {
            Ok(true) => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(%path, %error, "cannot remove the lock file");
                }
            }
            Ok(false) => {
                tracing::warn!(%path, "another program removed the lock file while the lock was held");
            }
            Err(error) => tracing::warn!(%path, %error, "cannot check the lock file"),
        }
    }
}

/// Whether `path` leads to `inode`, which is open, so that no other file can have its number.
fn leads_to(path: &Path, inode: Inode) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == inode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What [`Lock::take`] waits for. Looks the holder up only if it is displayed.
struct Wait(Inode);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = holder(self.0.0, self.0.1);
        write!(f, "the domain's lock{}", HeldBy(holder.as_ref()))
    }
}

/// Opens the lock file, creating it if it does not exist. Neither follows a link nor waits at a FIFO.
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

#[cfg(test)]
mod tests;
