//! `world.json`: the whole world, as it was at one moment.
//!
//! Owns how it is read and replaced: only ever by a rename, and only under the folder's lock, so that it is
//! whole at every instant. Never looks into the world, and never knows what has changed since.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::error::SimError;
use super::regular;
use super::step::step;
use super::sum::{self, sum};
use super::world::World;

/// The world itself.
pub(super) const NAME: &str = "world.json";
/// The next world, until it is renamed. One that is left over is of a process that was killed.
pub(super) const NEXT: &str = "world.json.new";
/// A world of all 32752 domains is half of this.
pub(super) const LONGEST: u64 = 64 << 20;
/// What is no longer than this is read and written as a whole each time: that takes no longer than anything
/// else would, and it is current for whoever looks into it.
const SMALL: usize = 16 << 10;

/// A world file, as it was read or written.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Kept open, so that no other file can be given its inode.
    _file: File,
    stamp: Stamp,
    length: usize,
    /// Of a small one, what is in it: somebody who edits it twice within a tick of the kernel's clock leaves no
    /// other trace.
    text: Option<Vec<u8>>,
    journal: Option<u64>,
}

/// By what a file is known to be the same still, without a look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
    written: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            length: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
            written: (found.mtime(), found.mtime_nsec()),
        }
    }
}

impl Snapshot {
    fn new(file: File, text: Vec<u8>, journal: Option<u64>) -> io::Result<Self> {
        let (stamp, length) = (Stamp::of(&file.metadata()?), text.len());
        let journal = journal.map(|_| sum(sum::NOTHING, &text));
        let text = (length <= SMALL).then_some(text);
        Ok(Self { _file: file, stamp, length, text, journal })
    }

    /// The world in `dir`, if there is one. It may be a link to one that somebody keeps elsewhere.
    pub(super) fn read(dir: &Path) -> Result<Option<(Self, World)>, SimError> {
        let path = dir.join(NAME);
        let failed = |source| SimError::io("read", &path, source);
        let Some(file) = open(&path)? else { return Ok(None) };
        let mut text = Vec::new();
        (&file).take(LONGEST.saturating_add(1)).read_to_end(&mut text).map_err(failed)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
            return Err(SimError::TooLong { path });
        }
        let (world, journal) = World::parse(&text, &path)?;
        Ok(Some((Self::new(file, text, journal).map_err(failed)?, world)))
    }

    /// Replaces the world in `dir`, which goes on in `journal`, if it does; follows no link on the way. No fsync:
    /// a kill loses nothing, and a power cut costs a sim.
    pub(super) fn write(dir: &Path, world: &World, journal: Option<u64>) -> Result<Self, SimError> {
        let (path, next) = (dir.join(NAME), dir.join(NEXT));
        let failed = |source| SimError::io("write", &next, source);
        let text = world.text(journal).map_err(|source| failed(source.into()))?;
        step();
        let mut file = regular::create(&next).map_err(failed)?;
        step();
        file.write_all(text.as_bytes()).map_err(failed)?;
        step();
        let failed = |source| SimError::io("write", &path, source);
        fs::rename(&next, &path).map_err(failed)?;
        step();
        Self::new(file, text.into_bytes(), journal).map_err(failed)
    }

    /// Whether this is what is in `dir` still.
    pub(super) fn is_current(&self, dir: &Path) -> Result<bool, SimError> {
        let path = dir.join(NAME);
        let failed = |source| SimError::io("read", &path, source);
        let Some(text) = &self.text else {
            let found = regular::metadata(&path, true).map_err(failed)?;
            return Ok(found.is_some_and(|found| Stamp::of(&found) == self.stamp));
        };
        let Some(file) = open(&path)? else { return Ok(false) };
        let mut found = Vec::with_capacity(text.len().saturating_add(1));
        let most = u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut found).map_err(failed)?;
        Ok(found == *text)
    }

    /// Whether it is best written as a whole each time.
    pub(super) const fn is_small(&self) -> bool {
        self.text.is_some()
    }

    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// What the journal in which this world goes on is known by, if it goes on in one.
    pub(super) const fn journal(&self) -> Option<u64> {
        self.journal
    }
}

/// The world file at `path`, opened to be read, if there is one.
fn open(path: &Path) -> Result<Option<File>, SimError> {
    match regular::open(path, OpenOptions::new().read(true).clone(), OFlags::empty()) {
        Ok(Some(file)) => Ok(Some(file)),
        Ok(None) => Err(SimError::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SimError::io("read", path, error)),
    }
}
