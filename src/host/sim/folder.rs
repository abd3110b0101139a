//! The folder that a sim lives in: `world.json`, `world.lock` and `lib`.
//!
//! Owns the choice of the folder, and that the world in it is whole at every instant: it is only
//! read and replaced under `world.lock`, and only replaced by a rename. Never looks into the world.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use fs2::FileExt as _;

use super::error::SimError;
use super::start;
use super::world::World;

/// The world itself.
pub(super) const WORLD: &str = "world.json";
/// The next world, until it is renamed. One that is left over is of a process that was killed.
const NEXT: &str = "world.json.new";
/// Held (flock) by whoever reads or replaces the world.
const LOCK: &str = "world.lock";
/// Stands for `/var/lib/xen`.
const STATE: &str = "lib";

/// A folder with a world in it.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Opens `dir`, made and filled with the start world if there is nothing.
    pub(super) fn open(dir: &Path) -> Result<Self, SimError> {
        fs::create_dir_all(dir).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                SimError::NotAFolder { path: dir.to_owned() }
            }
            _ => SimError::io("make", dir, source),
        })?;
        Self { dir: dir.to_owned() }.filled()
    }

    /// Opens the calling user's own folder.
    pub(super) fn open_own() -> Result<Self, SimError> {
        let euid = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR");
        Self::open_private(&own(runtime.as_deref(), &std::env::temp_dir(), euid), euid)
    }

    /// Opens `dir`, which is in a place where others could have put it: only if it is `euid`'s.
    fn open_private(dir: &Path, euid: u32) -> Result<Self, SimError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SimError::io("make", dir, error));
            }
            Ok(()) | Err(_) => {}
        }
        let found =
            fs::symlink_metadata(dir).map_err(|source| SimError::io("look at", dir, source))?;
        let path = dir.to_owned();
        if found.is_symlink() {
            Err(SimError::Link { path })
        } else if !found.is_dir() {
            Err(SimError::NotAFolder { path })
        } else if found.uid() != euid {
            Err(SimError::NotYours { path, owner: found.uid() })
        } else {
            Self { dir: path }.filled()
        }
    }

    /// The folder that stands for `/var/lib/xen`.
    pub(super) fn state(&self) -> PathBuf {
        self.dir.join(STATE)
    }

    /// The world file.
    pub(super) fn world(&self) -> PathBuf {
        self.dir.join(WORLD)
    }

    /// Looks at the world, and replaces it if `act` changed it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        let held = self.lock()?;
        let mut world = self.load()?.unwrap_or_else(start::world);
        let before = world.clone();
        let result = act(&mut world);
        if world != before {
            self.store(&world)?;
        }
        drop(held);
        Ok(result)
    }

    /// This folder with everything in it that a sim needs. A folder of something else stays as it is.
    fn filled(self) -> Result<Self, SimError> {
        if self.load()?.is_none() && !self.is_free()? {
            return Err(SimError::NotAWorld { path: self.dir });
        }
        let state = self.state();
        fs::create_dir_all(&state).map_err(|source| SimError::io("make", state, source))?;
        let held = self.lock()?;
        if self.load()?.is_none() {
            self.store(&start::world())?;
        }
        drop(held);
        Ok(self)
    }

    /// Whether nothing is in the folder but what a process that was killed here can have left.
    fn is_free(&self) -> Result<bool, SimError> {
        let failed = |source| SimError::io("read", &self.dir, source);
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if ![WORLD, NEXT, LOCK, STATE].iter().any(|own| name == *own) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for the right to read and replace the world, which ends when the file is dropped.
    fn lock(&self) -> Result<File, SimError> {
        let path = self.dir.join(LOCK);
        let failed = |source| SimError::io("lock", &path, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        loop {
            match file.lock_exclusive() {
                Ok(()) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn load(&self) -> Result<Option<World>, SimError> {
        let path = self.world();
        match fs::read(&path) {
            Ok(bytes) => World::parse(&bytes, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SimError::io("read", path, error)),
        }
    }

    /// Replaces the world. No fsync: a kill loses nothing, and a power cut costs a sim.
    fn store(&self, world: &World) -> Result<(), SimError> {
        let next = self.dir.join(NEXT);
        let text = world.text().map_err(|source| SimError::io("write", &next, source.into()))?;
        File::create(&next)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| SimError::io("write", &next, source))?;
        fs::rename(&next, self.world())
            .map_err(|source| SimError::io("write", self.world(), source))
    }
}

/// The folder of user `euid`'s own: in the runtime folder if there is one, else among temporary files.
fn own(runtime: Option<&OsStr>, temporary: &Path, euid: u32) -> PathBuf {
    match runtime.map(Path::new).filter(|dir| dir.is_absolute() && dir.is_dir()) {
        Some(runtime) => runtime.join("xmem-sim"),
        None => temporary.join(format!("xmem-sim-{euid}")),
    }
}
