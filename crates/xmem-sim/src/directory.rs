//! The directory of a world: its default, the check of its owner, and reading and replacing `world.json`.
//!
//! The world is read and replaced as a whole, under `world.lock`. A rename replaces it, so that a kill leaves either
//! the old world or the new one. Nothing is synced to the disk: a power cut may lose the sim.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::fs::OFlags;
use serde::de::Error as _;

use crate::error::SimError;
use crate::start::StartWorld;
use crate::world::World;

const WORLD: &str = "world.json";
/// The next world, until it is renamed. A killed process may leave it behind.
const NEXT: &str = "world.json.new";
const LOCK: &str = "world.lock";
/// The timeout for the lock, which is that of a request to the real xenstored, and the pause between two tries.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
/// Stands for `/var/lib/xen`.
const STATE: &str = "lib";

/// The longest world file that is read: a thousand times the size of tens of domains.
const LONGEST: u64 = 16 << 20;

/// A directory with a world in it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Whether the user named none.
    pub(crate) is_default: bool,
}

impl Directory {
    /// The user's own directory: in `$XDG_RUNTIME_DIR` if the user owns that, else in the temporary directory.
    fn default_path(world: StartWorld) -> PathBuf {
        let euid = rustix::process::geteuid().as_raw();
        let suffix = if world == StartWorld::States { "-states" } else { "" };
        let is_own = |dir: &PathBuf| {
            dir.is_absolute() && fs::metadata(dir).is_ok_and(|it| it.is_dir() && it.uid() == euid)
        };
        match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_own) {
            Some(runtime) => runtime.join(format!("xmem-sim{suffix}")),
            None => env::temp_dir().join(format!("xmem-sim-{euid}{suffix}")),
        }
    }

    /// The directory at `path`, or the default one. Opens and creates nothing.
    pub(crate) fn at(path: Option<&Path>, start: StartWorld) -> Self {
        let is_default = path.is_none();
        let path = path.map_or_else(|| Self::default_path(start), Path::to_owned);
        Self { path, is_default }
    }

    /// Opens the directory at `path`, or the default one, and creates what is missing.
    pub(crate) fn open(path: Option<&Path>, start: StartWorld) -> Result<Self, SimError> {
        let directory = Self::at(path, start);
        // The default directory is private. A named one is created with its parents and the usual mode.
        let mode = if directory.is_default { 0o700 } else { 0o777 };
        let mut builder = DirBuilder::new();
        match builder.recursive(!directory.is_default).mode(mode).create(&directory.path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(directory.unfit("is not a directory"));
            }
            // `check` diagnoses whatever else exists at the path.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SimError::io("create", directory.path)(error));
            }
            _ => directory.check(rustix::process::geteuid().as_raw())?,
        }
        directory.fill(start)?;
        Ok(directory)
    }

    /// The world, if there is one. Creates nothing.
    pub(crate) fn existing_world(&self) -> Result<Option<World>, SimError> {
        if !self.world_file().exists() {
            return Ok(None);
        }
        self.check(rustix::process::geteuid().as_raw())?;
        self.load()
    }

    fn unfit(&self, reason: impl Into<String>) -> SimError {
        SimError::Directory { path: self.path.clone(), reason: reason.into() }
    }

    /// Refuses a directory in which user `euid` should not work. Others can create entries beside the default
    /// directory, so the user must own it, and it must not be a link. Root refuses a directory of another user, who
    /// could redirect its writes through links; git has the same rule since CVE-2022-24765.
    pub(crate) fn check(&self, euid: u32) -> Result<(), SimError> {
        let Self { path, is_default } = self;
        let found = if *is_default { fs::symlink_metadata(path) } else { fs::metadata(path) };
        let found = found.map_err(SimError::io("read", path))?;
        if found.is_symlink() {
            Err(self.unfit("is a symbolic link"))
        } else if !found.is_dir() {
            Err(self.unfit("is not a directory"))
        } else if found.uid() != euid && (*is_default || euid == 0) {
            Err(self.unfit(format!("belongs to user {}, not to you", found.uid())))
        } else {
            Ok(())
        }
    }

    /// Creates the missing files. Refuses a directory with other files, and leaves it unchanged.
    fn fill(&self, start: StartWorld) -> Result<(), SimError> {
        let is_new = self.load()?.is_none();
        let names = fs::read_dir(&self.path).map_err(SimError::io("read", &self.path))?;
        let is_own = |entry: DirEntry| {
            [WORLD, NEXT, LOCK, STATE].iter().any(|own| entry.file_name() == *own)
        };
        if is_new && !names.flatten().all(is_own) {
            return Err(self.unfit("is neither empty nor a sim: it has no world.json"));
        }
        let state = self.state_dir();
        fs::create_dir_all(&state).map_err(SimError::io("create", state))?;
        if is_new {
            let _lock = self.lock(LIMIT)?;
            if self.load()?.is_none() {
                self.replace(&match start {
                    StartWorld::Start => World::start(),
                    StartWorld::States => World::states(),
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path.join(STATE)
    }

    pub(crate) fn world_file(&self) -> PathBuf {
        self.path.join(WORLD)
    }

    /// The present world.
    pub(crate) fn world(&self) -> Result<World, SimError> {
        let missing = || SimError::io("read", self.world_file())(io::ErrorKind::NotFound.into());
        self.load()?.ok_or_else(missing)
    }

    /// Runs `act` on the world, and saves its changes.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        let _lock = self.lock(LIMIT)?;
        let before = self.world()?;
        let mut world = before.clone();
        let result = act(&mut world);
        if world != before {
            self.replace(&world)?;
        }
        Ok(result)
    }

    /// Locks the world against other processes. A process that holds the lock may be stopped, so it waits for `limit` at
    /// most. Closing the file releases the lock.
    pub(crate) fn lock(&self, limit: Duration) -> Result<File, SimError> {
        let path = self.path.join(LOCK);
        let mut how = options(OFlags::NOFOLLOW);
        how.read(true).write(true).create(true).truncate(false);
        let file = how.open(&path).map_err(SimError::io("open", &path))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if begun.elapsed() < limit => thread::sleep(PAUSE),
                Err(error) => return Err(SimError::io("lock", path)(error.into())),
            }
        }
    }

    /// The world in the file; `None` if there is no file.
    fn load(&self) -> Result<Option<World>, SimError> {
        let path = self.world_file();
        let file = match options(OFlags::empty()).read(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(SimError::io("read", &path))?,
        };
        let mut text = Vec::new();
        let mut file = file.take(LONGEST);
        file.read_to_end(&mut text).map_err(SimError::io("read", &path))?;
        let world = if file.limit() == 0 {
            Err(serde_json::Error::custom(format!("it is longer than {LONGEST} bytes")))
        } else {
            serde_json::from_slice(&text)
        };
        world.map(Some).map_err(|source| SimError::World { path, source })
    }

    fn replace(&self, world: &World) -> Result<(), SimError> {
        let (path, next) = (self.world_file(), self.path.join(NEXT));
        let mut how = options(OFlags::NOFOLLOW);
        let file = how.write(true).create(true).truncate(true).open(&next);
        let text = serde_json::to_string_pretty(world).map_err(io::Error::from);
        file.and_then(|mut file| file.write_all(text?.as_bytes()))
            .map_err(SimError::io("write", &next))?;
        fs::rename(&next, &path).map_err(SimError::io("write", path))
    }
}

/// The options that every file is opened with. A FIFO must not block.
fn options(flags: OFlags) -> OpenOptions {
    let flags = flags | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.custom_flags(flags.bits().cast_signed());
    options
}
