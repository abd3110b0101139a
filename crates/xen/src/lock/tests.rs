//! The lock on a real file system, among threads and against flock(1).

use std::cell::{Cell, RefCell};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::domain::DomId;
use crate::interrupt::NoInterrupt;
use crate::{Uuid, userdata};

const WEB: Identity = Identity { domid: DomId::DOM0, uuid: Uuid::from_bytes([0xab; 16]) };
const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn path(dir: &TempDir) -> PathBuf {
    FileName::lock(WEB).in_dir(dir.path())
}

fn take(dir: &TempDir, timeout: Duration) -> Result<Lock, LockError> {
    Lock::take(dir.path(), WEB, timeout, &NoInterrupt)
}

fn state(dir: &TempDir) -> LockState {
    LockState::of(dir.path(), WEB).unwrap()
}

/// Interrupts after a number of pauses; records them and what was waited for.
#[derive(Default)]
struct Impatient {
    pauses: Cell<u32>,
    most: u32,
    slept: Cell<Duration>,
    heard: RefCell<Vec<String>>,
}

impl Interrupt for Impatient {
    fn pending(&self) -> bool {
        self.pauses.get() >= self.most
    }

    fn sleep(&self, time: Duration) -> bool {
        self.pauses.set(self.pauses.get().saturating_add(1));
        self.slept.set(self.slept.get().saturating_add(time));
        thread::sleep(time);
        self.pending()
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.heard.borrow_mut().push(what.to_string());
    }
}

#[test]
fn a_released_lock_leaves_no_file() {
    let dir = dir();
    let lock = take(&dir, SHORT).unwrap();
    assert!(lock.still_held().unwrap());
    assert!(
        path(&dir)
            .ends_with("userdata-l.0.abababab-abab-abab-abab-abababababab.domain-userdata-lock")
    );
    drop(lock);
    assert!(!path(&dir).exists());
}

#[test]
fn a_held_lock_is_busy_names_its_holder_and_stays_held() {
    let dir = dir();
    let held = take(&dir, SHORT).unwrap();
    let error = take(&dir, SHORT).unwrap_err();
    let pid = std::process::id();
    let expected =
        format!("timed out after 0.05 s waiting for the domain's lock, held by process {pid} (");
    assert!(error.to_string().starts_with(&expected), "{error}");
    let LockError::Busy { waited: SHORT, holder: Some(holder) } = error else {
        panic!("{error:?}")
    };
    assert_eq!(holder.pid, pid);
    assert!(held.still_held().unwrap());
}

#[test]
fn the_timeout_is_observed() {
    let dir = dir();
    let _held = take(&dir, SHORT).unwrap();
    for timeout in [Duration::ZERO, SHORT, SHORT.saturating_mul(5)] {
        let start = Instant::now();
        assert!(
            matches!(take(&dir, timeout), Err(LockError::Busy { waited, .. }) if waited == timeout)
        );
        let took = start.elapsed();
        assert!(
            took >= timeout && took < timeout.saturating_add(Duration::from_secs(5)),
            "{took:?}"
        );
    }
}

#[test]
fn no_pause_exceeds_the_remaining_time() {
    let dir = dir();
    let _held = take(&dir, SHORT).unwrap();
    let waiter = Impatient { most: u32::MAX, ..Impatient::default() };
    let busy = Lock::take(dir.path(), WEB, SHORT.saturating_mul(4), &waiter);
    assert!(matches!(busy, Err(LockError::Busy { .. })));
    assert!(waiter.slept.get() <= SHORT.saturating_mul(4), "{:?}", waiter.slept);
    // 2, 4, 8, 16 and 32 ms, then 50 ms, so that a long wait costs little.
    assert!((1..=12).contains(&waiter.pauses.get()), "{:?}", waiter.pauses);
}

#[test]
fn an_interrupt_ends_the_wait() {
    let dir = dir();
    let held = take(&dir, SHORT).unwrap();
    let waiter = Impatient { most: 3, ..Impatient::default() };
    let start = Instant::now();
    let interrupted = Lock::take(dir.path(), WEB, LONG, &waiter);
    assert!(matches!(interrupted, Err(LockError::Interrupted)), "{interrupted:?}");
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(waiter.pauses.get(), 3);
    assert!(held.still_held().unwrap());
}

#[test]
fn a_free_lock_is_taken_without_a_pause() {
    let dir = dir();
    let waiter = Impatient::default(); // interrupted from the start
    drop(Lock::take(dir.path(), WEB, Duration::ZERO, &waiter).unwrap());
    assert_eq!((waiter.pauses.get(), waiter.heard.borrow().len()), (0, 0));
}

#[test]
fn a_waiter_reports_the_holder() {
    let dir = dir();
    let _held = take(&dir, SHORT).unwrap();
    let waiter = Impatient { most: 2, ..Impatient::default() };
    drop(Lock::take(dir.path(), WEB, LONG, &waiter));
    let holder = format!("the domain's lock, held by process {}", std::process::id());
    let heard = waiter.heard.borrow();
    assert!(heard.len() == 2 && heard.iter().all(|what| what.starts_with(&holder)), "{heard:?}");
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_released() {
    let dir = dir();
    let held = take(&dir, SHORT).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| take(&dir, LONG).map(|lock| lock.still_held().unwrap()));
        thread::sleep(SHORT);
        drop(held);
        assert!(waiter.join().unwrap().unwrap());
    });
    assert!(!path(&dir).exists());
}

#[test]
fn a_waiter_that_timed_out_does_not_keep_the_lock() {
    let dir = dir();
    let held = take(&dir, SHORT).unwrap();
    assert!(matches!(take(&dir, SHORT), Err(LockError::Busy { .. })));
    drop(held);
    drop(take(&dir, LONG).unwrap());
}

#[test]
fn concurrent_threads_exclude_each_other() {
    let dir = dir();
    let counter = dir.path().join("counter");
    fs::write(&counter, "0").unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let lock = take(&dir, LONG).unwrap();
                    let count: u32 = fs::read_to_string(&counter).unwrap().parse().unwrap();
                    fs::write(&counter, (count + 1).to_string()).unwrap();
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(&counter).unwrap(), "200");
    assert!(!path(&dir).exists());
}

/// The previous holder unlinks the file between another process's open and flock.
#[test]
fn a_file_unlinked_before_it_was_locked_is_not_the_lock() {
    let dir = dir();
    let (file, inode) = open(&path(&dir)).unwrap();
    fs::remove_file(path(&dir)).unwrap();
    file.lock_exclusive().unwrap();
    assert!(!leads_to(&path(&dir), inode).unwrap());
    // Another file is at the path now, and another process can lock it.
    let lock = take(&dir, Duration::ZERO).unwrap();
    assert!(lock.still_held().unwrap() && !leads_to(&path(&dir), inode).unwrap());
}

/// A zero timeout does not end the retries.
#[test]
fn a_lock_file_that_is_replaced_repeatedly_is_retried() {
    let dir = dir();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(fs::remove_file(path(&dir)));
                thread::sleep(Duration::from_micros(50));
            }
        });
        for _ in 0..500 {
            drop(take(&dir, Duration::ZERO).unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_killed_holders_file_is_stale_and_taken_over() {
    let dir = dir();
    fs::write(path(&dir), "").unwrap();
    assert_eq!(state(&dir), LockState::Stale);
    let lock = take(&dir, Duration::ZERO).unwrap();
    assert!(matches!(state(&dir), LockState::Held(holder) if holder.pid == std::process::id()));
    drop(lock);
    assert_eq!(state(&dir), LockState::Unlocked);
}

#[test]
fn flock_1_takes_the_same_lock() {
    let dir = dir();
    let held = take(&dir, SHORT).unwrap();
    let status = Command::new("flock").arg("-n").arg(path(&dir)).arg("true").status().unwrap();
    assert_eq!(status.code(), Some(1));
    drop(held);
}

#[test]
fn a_file_that_replaced_the_locked_one_is_not_unlinked() {
    let dir = dir();
    let lock = take(&dir, SHORT).unwrap();
    fs::remove_file(path(&dir)).unwrap();
    assert!(!lock.still_held().unwrap());
    fs::write(path(&dir), "another's").unwrap();
    assert!(!lock.still_held().unwrap());
    drop(lock);
    assert!(path(&dir).exists());
}

#[test]
fn a_lock_state_is_read_without_changing_the_file() {
    let dir = dir();
    assert_eq!(state(&dir), LockState::Unlocked);
    assert!(!path(&dir).exists());
    symlink("/dev/null", path(&dir)).unwrap();
    assert_eq!(state(&dir), LockState::Unusable);
    fs::remove_file(path(&dir)).unwrap();
    fs::create_dir(path(&dir)).unwrap();
    assert_eq!(state(&dir), LockState::Unusable);
    let not_a_dir = dir.path().join("file");
    fs::write(&not_a_dir, "").unwrap();
    assert!(LockState::of(&not_a_dir, WEB).is_err());
}

#[test]
fn a_path_that_is_not_a_regular_file_is_not_a_lock() {
    let dir = dir();
    let file = path(&dir);
    let is_refused = |what: &str| {
        let error = take(&dir, SHORT).unwrap_err();
        assert!(
            matches!(&error, LockError::NotAFile { path } if *path == file),
            "{what}: {error:?}"
        );
        assert_eq!(state(&dir), LockState::Unusable, "{what}");
    };
    symlink(dir.path().join("elsewhere"), &file).unwrap();
    is_refused("a dangling symlink");
    assert!(!dir.path().join("elsewhere").exists());
    fs::write(dir.path().join("elsewhere"), "").unwrap();
    is_refused("a symlink to a file");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    is_refused("a directory");
    fs::remove_dir(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    is_refused("a fifo");
    fs::remove_file(&file).unwrap();
    let _listener = UnixListener::bind(&file).unwrap();
    is_refused("a socket");
}

#[test]
fn a_missing_directory_is_an_error() {
    let missing = dir().path().join("missing");
    let error = Lock::take(&missing, WEB, SHORT, &NoInterrupt).unwrap_err();
    let expected = format!("cannot open the lock {}/{}", missing.display(), FileName::lock(WEB));
    assert_eq!(error.to_string(), expected);
    assert!(expected.ends_with(userdata::LOCK));
}
