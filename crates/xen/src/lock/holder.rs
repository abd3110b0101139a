//! The process that holds a lock, from /proc/locks.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};

use crate::escape::{Escaped, beginning};

/// The number of times that /proc/locks is read, if it may have changed meanwhile, before a lock counts as free.
const TRIES: u32 = 8;
/// More bytes than the kernel returns at once, which is a page.
const AT_ONCE: usize = 1 << 16;

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command line, 80 characters at most; empty if it cannot be read.
    pub command: String,
    /// Whether it has ended. Another process has the file open then, as a child of a shell that ran `flock 9`.
    pub has_ended: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        if self.has_ended {
            return f.write_str(" (ended; another process has inherited the lock)");
        }
        if self.command.is_empty() { Ok(()) } else { write!(f, " ({})", Escaped(&self.command)) }
    }
}

/// `, held by process 4711 (xl mem-set web 512)`, or nothing if the holder is not known.
pub(super) struct HeldBy<'a>(pub(super) Option<&'a Holder>);

impl fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |holder| write!(f, ", held by {holder}"))
    }
}

/// The holder of the flock on inode `ino` of device `dev`.
pub(super) fn holder(dev: u64, ino: u64) -> Option<Holder> {
    find(|locks| flock_holder(locks, dev, ino)).map(of_process)
}

/// The process `pid` as a holder.
fn of_process(pid: u32) -> Holder {
    let command = command(pid);
    let has_ended = command.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let command = String::from_utf8_lossy(&command.unwrap_or_default()).replace('\0', " ");
    let (command, cut) = beginning(command.trim_end(), 80);
    Holder { pid, command: format!("{command}{cut}"), has_ended }
}

/// The first 4 KiB of the command line of process `pid`. A process can make it as long as it likes.
fn command(pid: u32) -> io::Result<Vec<u8>> {
    let mut command = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))?.take(4096).read_to_end(&mut command)?;
    Ok(command)
}

/// The result of `find` in /proc/locks. A list that came in several pieces may lack a line, since other locks may have
/// been taken or released meanwhile. So it is read again.
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

/// The text of /proc/locks and the number of pieces it came in. Each read(2) returns a piece of a page at most;
/// `fs::read` would begin with one of 32 bytes.
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

/// The pid of the line in `locks` that holds, and does not wait for, a flock on the inode.
///
/// The device must match too, since other file systems have the same inode numbers. The exception is a device that only
/// stat(2) shows, as with btrfs and overlayfs: the kernel lists the lock with another one.
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

/// Whether a mounted file system has the device `dev` in the kernel, and so in /proc/locks.
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
    fn the_holder_is_found_by_inode_and_device() {
        let locks = "1: FLOCK  ADVISORY  WRITE 10 08:01:77 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 11 08:02:77 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 12 08:02:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 08:02:77 0 EOF\n\
                     garbage\n";
        assert_eq!(flock_holder(locks, rustix::fs::makedev(8, 2), 77), Some(13));
        assert_eq!(flock_holder(locks, rustix::fs::makedev(9, 9), 77), Some(10));
        assert_eq!(flock_holder(locks, rustix::fs::makedev(8, 2), 78), None);
    }

    /// The kernel lists the process that took the lock, also if only a child has the file open any more.
    #[test]
    fn a_holder_that_has_ended_is_reported_so() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let ended = of_process(child.id()).to_string();
        assert!(ended.ends_with(" (ended; another process has inherited the lock)"), "{ended}");
        assert!(!of_process(std::process::id()).has_ended);
    }

    #[test]
    fn the_same_inode_on_another_file_system_is_another_lock() {
        let proc = fs::metadata("/proc").unwrap().dev();
        let (major, minor) = (rustix::fs::major(proc), rustix::fs::minor(proc));
        let locks = |major: u32, minor: u32| {
            format!("1: FLOCK  ADVISORY  WRITE 10 {major:02x}:{minor:02x}:77 0 EOF\n")
        };
        assert_eq!(flock_holder(&locks(major, minor), proc, 77), Some(10));
        assert_eq!(flock_holder(&locks(major, minor.wrapping_add(1)), proc, 77), None);
    }

    #[test]
    fn a_holder_is_found_while_other_locks_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        // The list has a part for each processor. Many threads take locks, so that the last parts have some too.
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
