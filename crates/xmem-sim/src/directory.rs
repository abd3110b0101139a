//! The directory that a world lives in: which one, whose, and how `world.json` is read and replaced.
//!
//! The world is read and replaced as a whole, under `world.lock`, and replaced by a rename, so that a kill leaves the old
//! world or the new one. Nothing is synced to the disk: a power cut costs a sim.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::error::SimError;
use crate::start::StartWorld;
use crate::world::{VERSION, World};

const WORLD: &str = "world.json";
/// The next world, until it is renamed. A leftover is of a process that was killed.
const NEXT: &str = "world.json.new";
const LOCK: &str = "world.lock";
/// Stands for `/var/lib/xen`.
pub(crate) const STATE: &str = "lib";

/// A thousand times the world of tens of domains.
const LONGEST: u64 = 16 << 20;

const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// A directory with a world in it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Only look: take no lock, and keep no change.
    read_only: bool,
    /// The last text of the world file and its meaning: most reads find the same again.
    known: Mutex<Option<(Vec<u8>, World)>>,
}

impl Directory {
    /// The user's own directory: in `$XDG_RUNTIME_DIR` if that is the user's, else beside temporary files.
    pub(crate) fn default_path(world: StartWorld) -> PathBuf {
        let euid = rustix::process::geteuid().as_raw();
        let suffix = if world == StartWorld::States { "-states" } else { "" };
        let is_own = |dir: &PathBuf| {
            dir.is_absolute() && fs::metadata(dir).is_ok_and(|it| it.is_dir() && it.uid() == euid)
        };
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_own) {
            Some(runtime) => runtime.join(format!("xmem-sim{suffix}")),
            None => std::env::temp_dir().join(format!("xmem-sim-{euid}{suffix}")),
        }
    }

    /// Opens the directory at `path`, or the default one, and creates what is missing.
    pub(crate) fn open(path: Option<&Path>, start: StartWorld) -> Result<Self, SimError> {
        let euid = rustix::process::geteuid().as_raw();
        // Only a directory that the caller named is created with its parents, and for others to read.
        let target = path.map_or_else(|| Self::default_path(start), Path::to_owned);
        let mode = if path.is_some() { 0o777 } else { 0o700 };
        match DirBuilder::new().recursive(path.is_some()).mode(mode).create(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(SimError::NotADirectory { path: target });
            }
            // What stands there instead of a directory is found below.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SimError::io("create", target)(error));
            }
            _ => {}
        }
        let directory = Self::checked(path, start, euid)?;
        directory.fill(start)?;
        Ok(directory)
    }

    /// Opens the directory if it holds a world, only to look at it. Creates nothing.
    pub(crate) fn open_existing(
        path: Option<&Path>,
        start: StartWorld,
    ) -> Result<Option<Self>, SimError> {
        let directory = match Self::checked(path, start, rustix::process::geteuid().as_raw()) {
            Err(SimError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            directory => Self { read_only: true, ..directory? },
        };
        Ok(directory.load()?.is_some().then_some(directory))
    }

    /// The directory, if user `euid` may work in it. The default one stands where others can put things, so it must be
    /// the user's own and no link. Root works in no directory of another user, who could have it write anywhere through
    /// links; git has the same rule since CVE-2022-24765.
    fn checked(path: Option<&Path>, start: StartWorld, euid: u32) -> Result<Self, SimError> {
        let is_default = path.is_none();
        let path = path.map_or_else(|| Self::default_path(start), Path::to_owned);
        let found = if is_default { fs::symlink_metadata(&path) } else { fs::metadata(&path) };
        let found = found.map_err(SimError::io("read", &path))?;
        if found.is_symlink() {
            Err(SimError::Link { path })
        } else if !found.is_dir() {
            Err(SimError::NotADirectory { path })
        } else if found.uid() != euid && (is_default || euid == 0) {
            Err(SimError::NotYours { path, owner: found.uid() })
        } else {
            Ok(Self { path, read_only: false, known: Mutex::default() })
        }
    }

    /// Creates what is missing. A directory that holds something else stays as it is.
    fn fill(&self, start: StartWorld) -> Result<(), SimError> {
        if self.load()?.is_none() {
            let failed = || SimError::io("read", &self.path);
            for entry in fs::read_dir(&self.path).map_err(failed())? {
                let name = entry.map_err(failed())?.file_name();
                if ![WORLD, NEXT, LOCK, STATE].iter().any(|own| name == *own) {
                    return Err(SimError::NotASim { path: self.path.clone() });
                }
            }
        }
        let state = self.path.join(STATE);
        if !state.is_dir() {
            fs::create_dir_all(&state).map_err(SimError::io("create", state))?;
        }
        if self.load()?.is_none() {
            let locked = self.lock()?;
            if self.load()?.is_none() {
                self.replace(&start.world())?;
            }
            drop(locked);
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn world_file(&self) -> PathBuf {
        self.path.join(WORLD)
    }

    /// Runs `act` on the world, and keeps what it changes.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        let locked = if self.read_only { None } else { Some(self.lock()?) };
        let before = self.look(World::clone)?;
        let mut world = before.clone();
        let result = act(&mut world);
        if world != before && !self.read_only {
            self.replace(&world)?;
        }
        drop(locked);
        Ok(result)
    }

    /// Runs `look` on the world as it is in the file.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&World) -> R) -> Result<R, SimError> {
        let mut look = Some(look);
        let result = self.load()?.and_then(|world| look.take().map(|look| look(&world)));
        let missing = || SimError::io("read", self.world_file())(io::ErrorKind::NotFound.into());
        result.ok_or_else(missing)
    }

    /// Waits for the right to replace the world, which ends when the file is closed.
    fn lock(&self) -> Result<File, SimError> {
        let path = self.path.join(LOCK);
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false).custom_flags(NOFOLLOW | NONBLOCK);
        let file = how.open(&path).map_err(SimError::io("open", &path))?;
        loop {
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| file).map_err(SimError::io("lock", path)),
            }
        }
    }

    /// The world in the file; `None` if there is no file.
    fn load(&self) -> Result<Option<World>, SimError> {
        let path = self.world_file();
        // A FIFO must not block: it is empty, and so no world.
        let file = match OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(SimError::io("read", &path))?,
        };
        let mut text = Vec::new();
        let limit = LONGEST;
        let mut file = file.take(limit.saturating_add(1));
        file.read_to_end(&mut text).map_err(SimError::io("read", &path))?;
        if file.limit() == 0 {
            return Err(SimError::TooLong { path, limit });
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((same, world)) if *same == text => Ok(Some(world.clone())),
            _ => {
                let world = parse(&text, &path)?;
                *known = Some((text, world.clone()));
                Ok(Some(world))
            }
        }
    }

    fn replace(&self, world: &World) -> Result<(), SimError> {
        let (path, next) = (self.world_file(), self.path.join(NEXT));
        let text = world.to_json().map_err(|error| SimError::io("write", &next)(error.into()))?;
        let mut how = OpenOptions::new();
        how.write(true).create(true).truncate(true).custom_flags(NOFOLLOW | NONBLOCK);
        how.open(&next)
            .and_then(|mut file| file.write_all(&text))
            .map_err(SimError::io("write", &next))?;
        fs::rename(&next, &path).map_err(SimError::io("write", path))
    }
}

fn parse(text: &[u8], path: &Path) -> Result<World, SimError> {
    #[derive(Deserialize)]
    #[serde(expecting = "a world: an object with the field `version`")]
    struct Versioned {
        version: u64,
    }
    let path = || path.to_owned();
    let bad = |source| SimError::BadWorld { path: path(), source };
    // Another version says more than how its fields differ.
    match serde_json::from_slice(text).map_err(bad)? {
        Versioned { version: VERSION } => serde_json::from_slice(text).map_err(bad),
        Versioned { version: found } => {
            Err(SimError::Version { path: path(), found, known: VERSION })
        }
    }
}
