//! libxl's per-domain userdata lock, to the letter, with a deadline.
//!
//! Owns the lock file's life: open, flock, check that the path still is what was locked, unlink, then
//! close (`libxl__lock_file` and `libxl__unlock_file` in `tools/libs/light/libxl_internal.c`). Never
//! unlinks a file that it does not hold: two holders would be possible from then on. fs2 is used
//! here and nowhere else.

mod holder;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fs2::FileExt as _;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;

pub use self::holder::Holder;
use self::holder::{HeldBy, holder};
use crate::domain::Identity;
use crate::signals::HoldOff;

/// How long a lock is tried for whose file others replace, even by one who does not wait.
const GRACE: Duration = Duration::from_secs(1);

/// Where libxl keeps `kind` (`l` a lock, `d` data, `n` data being written) about a domain.
pub fn userdata_path(dir: &Path, kind: char, identity: Identity, what: &str) -> PathBuf {
    dir.join(format!("userdata-{kind}.{}.{}.{what}", identity.domid, identity.uuid))
}

/// The path of a domain's userdata lock in the state folder `dir`.
pub fn path(dir: &Path, identity: Identity) -> PathBuf {
    userdata_path(dir, 'l', identity, "domain-userdata-lock")
}

/// What stands at a lock's path, as seen without touching it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A file that nobody holds: left by a process that died, and taken over by the next one.
    Free,
    /// A file that somebody holds.
    Held {
        /// Who.
        holder: Holder,
        /// When the file was made: by the one who took the lock, since it is removed with its release.
        since: Option<SystemTime>,
    },
    /// Something that can be no lock: a link, a folder.
    Obstacle,
}

impl Standing {
    /// Who holds it.
    pub fn holder(self) -> Option<Holder> {
        if let Self::Held { holder, .. } = self { Some(holder) } else { None }
    }
}

/// Looks at the lock at `path`. `None` if there is nothing, or nothing that can be looked at.
pub fn standing(path: &Path) -> Option<Standing> {
    let it = fs::symlink_metadata(path).ok()?;
    if !it.is_file() {
        return Some(Standing::Obstacle);
    }
    Some(match holder(it.dev(), it.ino()) {
        Some(holder) => Standing::Held { holder, since: it.modified().ok() },
        None => Standing::Free,
    })
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it all the time.
    #[error("the domain's lock was not free within {} s{}", waited.as_secs_f64(), HeldBy(holder.as_ref()))]
    Busy {
        /// How long was waited.
        waited: Duration,
        /// Who holds it, where the kernel tells.
        holder: Option<Holder>,
    },
    /// A signal that ends the run came while waiting.
    #[error("interrupted while waiting for the domain's lock")]
    Interrupted,
    /// What stands in the lock's place is not a file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The lock's path.
        path: PathBuf,
    },
    /// The operating system's refusal.
    #[error("cannot {action} the lock {}", path.display())]
    Os {
        /// What was tried.
        action: &'static str,
        /// The lock's path.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

/// The lock: flocked, and seen to be the file that the path leads to. Dropping it releases it.
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
    /// Takes the lock of `identity` in the state folder `dir`, waiting at most `wait`, in the
    /// kernel's queue, so that no later comer goes first.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(
        dir: &Path,
        identity: Identity,
        wait: Duration,
        signals: &HoldOff,
    ) -> Result<Self, LockError> {
        let path = path(dir, identity);
        let os = |action| {
            let path = path.clone();
            move |source| LockError::Os { action, path, source }
        };
        let mut start = None;
        loop {
            let (mut file, inode) = open(&path)?;
            match file.try_lock_exclusive() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left =
                        wait.saturating_sub(start.get_or_insert_with(Instant::now).elapsed());
                    let holder = || holder(inode.0, inode.1);
                    tracing::debug!(path = %path.display(), for_at_most = ?left,
                        "waiting for the lock{}", HeldBy(holder().as_ref()));
                    file = queue(file, inode, &path, left, signals)?
                        .ok_or_else(|| LockError::Busy { waited: wait, holder: holder() })?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(os("take")(source)),
            }
            // The holder before us may have unlinked the file that we were waiting for.
            if let Some(lock) = Self::checked(file, inode, path.clone()).map_err(os("look at"))? {
                return Ok(lock);
            }
            if signals.pending().map_err(os("wait for"))? {
                return Err(LockError::Interrupted);
            }
            // Somebody may replace the file without end.
            if start.get_or_insert_with(Instant::now).elapsed() > wait.max(GRACE) {
                return Err(LockError::Busy {
                    waited: wait,
                    holder: standing(&path).and_then(Standing::holder),
                });
            }
        }
    }

    /// A flocked `file` as a lock, if `path` still leads to it.
    fn checked(file: File, inode: Inode, path: PathBuf) -> io::Result<Option<Self>> {
        Ok(leads_to(&path, inode)?.then_some(Self { _file: file, inode, path }))
    }

    /// Whether the path still leads to the file that is locked here. libxl's failure paths can unlink
    /// a lock that another process holds; from then on it protects nothing.
    ///
    /// # Errors
    /// The operating system's, other than that the path is gone.
    pub fn still_held(&self) -> io::Result<bool> {
        leads_to(&self.path, self.inode)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Unlink before close: the other way round, a second process could lock the file between the
        // two and have it unlinked under it. A file that is left behind, unlocked, is harmless.
        let path = self.path.display();
        match self.still_held() {
            Ok(true) => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(%path, %error, "the lock file is left behind");
                }
            }
            Ok(false) => tracing::warn!(%path, "somebody has removed the lock file meanwhile"),
            Err(error) => tracing::warn!(%path, %error, "the lock file is left behind"),
        }
    }
}

/// Whether `path` leads to the very file that is open as `inode`, which cannot become another's meanwhile.
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
    let os = |source| LockError::Os { action: "open", path: path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o666)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(os)?;
    let it = file.metadata().map_err(os)?;
    if it.is_file() {
        Ok((file, (it.dev(), it.ino())))
    } else {
        Err(LockError::NotAFile { path: path.to_owned() })
    }
}

/// Waits in the kernel's queue for `file`. `None` when `left` has passed.
///
/// flock(2) has no deadline, so a thread waits in it and this one watches the clock. A thread that is
/// given up and gets the lock later releases it at once, as any holder would.
fn queue(
    file: File,
    inode: Inode,
    path: &Path,
    left: Duration,
    signals: &HoldOff,
) -> Result<Option<File>, LockError> {
    let os = |action| {
        let path = path.to_owned();
        move |source: io::Error| LockError::Os { action, path, source }
    };
    let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| os("wait for")(errno.into()))?;
    let bell = Arc::new(bell);
    let interrupted = signals.fd().map_err(os("wait for"))?;
    let (send, receive) = mpsc::channel();
    let waiter = {
        let (bell, path) = (Arc::clone(&bell), path.to_owned());
        move || {
            let locked = loop {
                match file.lock_exclusive() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other.map(|()| file),
                }
            };
            match send.send(locked) {
                // The count can only be too large after 2^64 of these; nothing else can fail.
                Ok(()) => drop(rustix::io::write(&bell, &1_u64.to_ne_bytes())),
                Err(mpsc::SendError(given_up)) => {
                    drop(given_up.and_then(|file| Lock::checked(file, inode, path)));
                }
            }
        }
    };
    thread::Builder::new().name("lock".to_owned()).spawn(waiter).map_err(os("wait for"))?;

    let end = Instant::now().checked_add(left);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [
            PollFd::new(&bell, PollFlags::IN),
            PollFd::from_borrowed_fd(interrupted, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(os("wait for")(errno.into())),
            Ok(_) => {}
        }
        if let Ok(locked) = receive.try_recv() {
            return locked.map(Some).map_err(os("take"));
        }
        if signals.pending().map_err(os("wait for"))? {
            return Err(LockError::Interrupted);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::domain::{DomId, Uuid};

    const WEB: Identity = Identity { domid: DomId::DOM0, uuid: Uuid([0xab; 16]) };
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn take(dir: &Path, wait: Duration) -> Result<Lock, LockError> {
        Lock::take(dir, WEB, wait, &HoldOff::begin().unwrap())
    }

    #[test]
    fn the_path_is_libxls() {
        assert_eq!(
            path(Path::new("/var/lib/xen"), Identity { domid: DomId::DOM0, uuid: Uuid::default() }),
            Path::new(
                "/var/lib/xen/userdata-l.0.00000000-0000-0000-0000-000000000000.domain-userdata-lock"
            )
        );
    }

    #[test]
    fn taken_and_released_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = take(dir.path(), SHORT).unwrap();
        assert!(lock.still_held().unwrap());
        drop(lock);
        assert!(!path(dir.path(), WEB).exists());
    }

    #[test]
    fn a_held_lock_is_busy_names_its_holder_and_stays_held() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path(), SHORT).unwrap();
        let Err(LockError::Busy { holder: Some(holder), .. }) = take(dir.path(), SHORT) else {
            panic!("two holders, or no name")
        };
        assert_eq!(holder.pid, std::process::id());
        assert!(held.still_held().unwrap());
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path(), SHORT).unwrap();
        thread::scope(|scope| {
            let waiter =
                scope.spawn(|| take(dir.path(), LONG).map(|lock| lock.still_held().unwrap()));
            // Long enough that the waiter is in the queue; if it is not, the test still holds.
            thread::sleep(SHORT);
            drop(held);
            assert!(waiter.join().unwrap().unwrap());
        });
        assert!(!path(dir.path(), WEB).exists());
    }

    #[test]
    fn a_waiter_that_gave_up_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path(), SHORT).unwrap();
        assert!(matches!(take(dir.path(), SHORT), Err(LockError::Busy { .. })));
        drop(held);
        drop(take(dir.path(), LONG).unwrap());
    }

    #[test]
    fn many_at_once_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("counter");
        fs::write(&counter, "0").unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let lock = take(dir.path(), LONG).unwrap();
                        let count: u32 = fs::read_to_string(&counter).unwrap().parse().unwrap();
                        fs::write(&counter, (count + 1).to_string()).unwrap();
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&counter).unwrap(), "200");
        assert!(!path(dir.path(), WEB).exists());
    }

    #[test]
    fn it_is_the_lock_that_flock_1_takes() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path(), SHORT).unwrap();
        let file = path(dir.path(), WEB);
        let status = Command::new("flock").arg("-n").arg(&file).arg("true").status().unwrap();
        assert_eq!(status.code(), Some(1));
        drop(held);
    }

    #[test]
    fn a_file_that_is_not_ours_any_more_is_not_unlinked() {
        let dir = tempfile::tempdir().unwrap();
        let lock = take(dir.path(), SHORT).unwrap();
        fs::remove_file(path(dir.path(), WEB)).unwrap();
        fs::write(path(dir.path(), WEB), "another's").unwrap();
        assert!(!lock.still_held().unwrap());
        drop(lock);
        assert!(path(dir.path(), WEB).exists());
    }

    #[test]
    fn what_stands_at_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path(), WEB);
        assert_eq!(standing(&file), None);
        let lock = take(dir.path(), SHORT).unwrap();
        let Some(Standing::Held { holder, since: Some(since) }) = standing(&file) else {
            panic!("{:?}", standing(&file))
        };
        assert_eq!(holder.pid, std::process::id());
        assert!(since.elapsed().unwrap_or_default() < LONG);
        drop(lock);
        fs::write(&file, "").unwrap();
        assert_eq!(standing(&file), Some(Standing::Free));
        fs::remove_file(&file).unwrap();
        symlink("/dev/null", &file).unwrap();
        assert_eq!(standing(&file), Some(Standing::Obstacle));
    }

    #[test]
    fn links_folders_and_fifos_in_the_way_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path(), WEB);
        symlink(dir.path().join("elsewhere"), &file).unwrap();
        assert!(matches!(take(dir.path(), SHORT), Err(LockError::Os { action: "open", .. })));
        assert!(!dir.path().join("elsewhere").exists());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(matches!(take(dir.path(), SHORT), Err(LockError::Os { action: "open", .. })));
        fs::remove_dir(&file).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert!(matches!(take(dir.path(), SHORT), Err(LockError::NotAFile { .. })));
    }
}
