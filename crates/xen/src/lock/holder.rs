//! Which process holds a lock, as far as the kernel tells.
//!
//! Owns the reading of /proc/locks. Never touches a lock.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};

use crate::escape::Escaped;

/// How often a list is read that was changed while it was read, before a lock counts as free.
const TRIES: u32 = 8;
/// More than the kernel gives at once: a page.
const AT_ONCE: usize = 1 << 16;

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command line, or empty when it cannot be read.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        if self.command.is_empty() { Ok(()) } else { write!(f, " ({})", Escaped(&self.command)) }
    }
}

/// The half sentence about a holder, empty when none is known.
pub(super) struct HeldBy<'a>(pub(super) Option<&'a Holder>);

impl fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |holder| write!(f, ": {holder} holds it"))
    }
}

/// Who holds the flock on inode `ino` of device `dev`, as /proc/locks tells.
pub(super) fn holder(dev: u64, ino: u64) -> Option<Holder> {
    let pid = find(|locks| flock_holder(locks, dev, ino))?;
    let command = String::from_utf8_lossy(&command(pid).unwrap_or_default()).replace('\0', " ");
    Some(Holder { pid, command: command.trim_end().chars().take(80).collect() })
}

/// How the command line of process `pid` begins. A process makes its own as long as it likes.
fn command(pid: u32) -> io::Result<Vec<u8>> {
    let mut command = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))?.take(4096).read_to_end(&mut command)?;
    Ok(command)
}

/// What `find` finds in /proc/locks. What is not in a list that came in several pieces may have slipped
/// through between two of them, when others took or released locks: such a list is read again.
fn find(find: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    for _ in 0..TRIES {
        let (list, pieces) = list().ok()?;
        let found = find(&list);
        if found.is_some() || pieces <= 1 {
            return found;
        }
    }
    None
}

/// /proc/locks, and in how many pieces it came. The kernel makes a piece at each read(2), as large as
/// what is asked for but a page at most; `fs::read` begins by asking for 32 bytes.
fn list() -> io::Result<(String, u32)> {
    let mut file = File::open("/proc/locks")?;
    let (mut list, mut piece, mut pieces) = (Vec::new(), vec![0; AT_ONCE], 0_u32);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((String::from_utf8_lossy(&list).into_owned(), pieces)),
            Ok(length) => {
                list.extend(piece.iter().take(length));
                pieces = pieces.saturating_add(1);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The pid in the line of `locks` that holds (and does not wait for) a flock on the inode. The device
/// must match too, unless it is one that stat alone gives, as btrfs and overlayfs do: files of other file systems
/// have the same inode numbers, and whose lock is taken for held is not judged by `check`.
fn flock_holder(locks: &str, dev: u64, ino: u64) -> Option<u32> {
    let device = format!("{:02x}:{:02x}", rustix::fs::major(dev), rustix::fs::minor(dev));
    let held: Vec<(u32, &str)> = locks
        .lines()
        .filter_map(|line| {
            // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; a waiter has `->` behind the number.
            let mut words = line.split_ascii_whitespace().skip(1);
            if words.next()? != "FLOCK" {
                return None;
            }
            let pid = words.nth(2)?.parse().ok()?;
            let (device, inode) = words.next()?.rsplit_once(':')?;
            (inode.parse() == Ok(ino)).then_some((pid, device))
        })
        .collect();
    let exact = held.iter().find(|(_, on)| *on == device);
    exact.or_else(|| held.first().filter(|_| !is_mounted(dev))).map(|(pid, _)| *pid)
}

/// Whether a file system is mounted here that the kernel itself calls `dev`: its locks are listed so.
fn is_mounted(dev: u64) -> bool {
    let device = format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| {
        mounts.lines().any(|mount| mount.split_ascii_whitespace().nth(2) == Some(&device))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use fs2::FileExt;

    use super::*;

    #[test]
    fn holders_are_read_from_proc_locks() {
        let locks = "1: FLOCK  ADVISORY  WRITE 10 08:01:77 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 11 08:02:77 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 12 08:02:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 08:02:77 0 EOF\n\
                     garbage\n";
        assert_eq!(flock_holder(locks, rustix::fs::makedev(8, 2), 77), Some(13));
        assert_eq!(flock_holder(locks, rustix::fs::makedev(9, 9), 77), Some(10));
        assert_eq!(flock_holder(locks, rustix::fs::makedev(8, 2), 78), None);
    }

    /// Somebody else's lock on a file with the same number, on another file system.
    #[test]
    fn a_mounted_device_is_not_mistaken() {
        let proc = fs::metadata("/proc").unwrap().dev();
        let (major, minor) = (rustix::fs::major(proc), rustix::fs::minor(proc));
        let locks = |major: u32, minor: u32| {
            format!("1: FLOCK  ADVISORY  WRITE 10 {major:02x}:{minor:02x}:77 0 EOF\n")
        };
        assert_eq!(flock_holder(&locks(major, minor), proc, 77), Some(10));
        assert_eq!(flock_holder(&locks(major, minor.wrapping_add(1)), proc, 77), None);
    }

    /// While others take and release locks all the time, which moves the lines of the list.
    #[test]
    fn a_holder_is_not_overlooked() {
        let dir = tempfile::tempdir().unwrap();
        // The list has one part for each processor, the first first: there has to be a lock on the last.
        let take = &|name: usize| {
            let held = File::create(dir.path().join(name.to_string())).unwrap();
            held.lock_exclusive().unwrap();
            held
        };
        let held: Vec<File> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|name| scope.spawn(move || take(name))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let done = AtomicBool::new(false);
        let missed = thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let (path, done) = (dir.path().join(name), &done);
                scope.spawn(move || {
                    let file = File::create(path).unwrap();
                    while !done.load(Ordering::Relaxed) {
                        file.lock_exclusive().unwrap();
                        FileExt::unlock(&file).unwrap();
                    }
                });
            }
            let is_missed = |file: &&File| {
                let inode = file.metadata().unwrap();
                holder(inode.dev(), inode.ino()).is_none()
            };
            let missed = held.iter().cycle().take(2000).filter(is_missed).count();
            done.store(true, Ordering::Relaxed);
            missed
        });
        assert_eq!(missed, 0);
    }
}
