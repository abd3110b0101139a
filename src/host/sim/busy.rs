//! `lock-busy`: every domain's userdata lock, held.
//!
//! Takes and releases the locks exactly as libxl does, so that whoever waits for one, waits rightly.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs2::FileExt as _;

use super::error::SimError;
use super::world::{Number, World};

/// The locks of all domains, until this is dropped. A lock that another process holds is busy
/// without our help.
#[derive(Debug)]
pub(super) struct Busy {
    held: Vec<(PathBuf, File)>,
}

impl Busy {
    /// Takes the locks of all domains of `world`, whose state folder is `state`.
    pub(super) fn take(world: &World, state: &Path) -> Result<Self, SimError> {
        let mut held = Vec::new();
        for (Number(domid), domain) in &*world.domains {
            let name = format!("userdata-l.{domid}.{}.domain-userdata-lock", domain.uuid);
            let path = state.join(name);
            match try_lock(&path) {
                Ok(Some(file)) => held.push((path, file)),
                Ok(None) => {}
                Err(source) => return Err(SimError::io("lock", path, source)),
            }
        }
        Ok(Self { held })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for (path, file) in self.held.drain(..) {
            // First the name, then the lock: whoever waits must find that its file is gone.
            drop(fs::remove_file(path));
            drop(file);
        }
    }
}

/// The lock file, locked; `None` when somebody else has it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock_exclusive() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // Only now is it known whether this is still the file that others will open.
        let ours = file.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {
                return Ok(Some(file));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}
