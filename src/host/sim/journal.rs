//! `world.journal`: what has changed of a large world since its `world.json` was written.
//!
//! Owns the file's format, and what of it is believed. Each line is a sum, a blank, and a record. The first
//! line's sum goes on from that of the world file's text, and each other's from that of the line before: so a
//! line is believed only with all that it was written behind, and the journal of another world, an earlier one of
//! this world, or a torn line says nothing. Written only under the folder's lock; never knows what a record means.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use fs2::FileExt as _;
use rustix::fs::OFlags;

use super::error::SimError;
use super::record::Record;
use super::regular;
use super::snapshot::LONGEST;
use super::step::step;
use super::sum::sum;

pub(super) const NAME: &str = "world.journal";

/// A sum is so many digits.
const DIGITS: usize = 16;

/// A journal, as far as it is known.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Locked for sharing as long as this process uses it.
    file: File,
    /// How long it is, as far as it is believed.
    length: u64,
    /// The sum of the last line.
    sum: u64,
}

impl Journal {
    /// The journal in `dir` of the world that has the sum `world`, if there is one, and what is in it.
    pub(super) fn open(
        dir: &Path,
        world: u64,
        each: &mut dyn FnMut(Record),
    ) -> Result<Option<Self>, SimError> {
        let path = dir.join(NAME);
        let how = OpenOptions::new().read(true).write(true).clone();
        let file = match regular::open(&path, how, OFlags::NOFOLLOW) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(SimError::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SimError::io("read", path, error)),
        };
        let mut journal = Self::shared(path, file, world);
        journal.read_on(each)?;
        // Without even a first line it is of another world.
        Ok((journal.length > 0).then_some(journal))
    }

    /// Begins the journal in `dir` of the world that has the sum `world`: in place of whatever is there, and with
    /// a first line that says no more than whose it is.
    pub(super) fn begin(dir: &Path, world: u64) -> Result<Self, SimError> {
        let path = dir.join(NAME);
        step();
        let file =
            regular::create(&path).map_err(|source| SimError::io("write", path.clone(), source))?;
        let mut journal = Self::shared(path, file, world);
        journal.append(&Record::default())?;
        Ok(journal)
    }

    fn shared(path: PathBuf, file: File, sum: u64) -> Self {
        // Who fails to tell others that he is here only has them do more than they need.
        let _told = fs2::FileExt::try_lock_shared(&file);
        Self { path, file, length: 0, sum }
    }

    /// Reads what others have added, and says whether this is still the journal.
    pub(super) fn catch_up(&mut self, each: &mut dyn FnMut(Record)) -> Result<bool, SimError> {
        let found =
            regular::metadata(&self.path, false).map_err(|error| self.failed("read", error))?;
        let known = self.file.metadata().map_err(|error| self.failed("read", error))?;
        match found {
            Some(found) if (found.dev(), found.ino()) == (known.dev(), known.ino()) => {
                if known.len() > self.length {
                    self.read_on(each)?;
                }
                Ok(known.len() >= self.length)
            }
            _ => Ok(false),
        }
    }

    /// Reads the lines that are not known yet, up to one that is not to be believed.
    fn read_on(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), SimError> {
        let mut text = Vec::new();
        let most = LONGEST.saturating_mul(2);
        let read = (&self.file)
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| (&self.file).take(most.saturating_add(1)).read_to_end(&mut text));
        let read = read.map_err(|error| self.failed("read", error))?;
        if u64::try_from(read).is_ok_and(|length| length > most) {
            return Err(SimError::TooLong { path: self.path.clone() });
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some((record, sum)) = believed(line, self.sum) else { break };
            let broken = |source| SimError::Broken { path: self.path.clone(), source };
            each(serde_json::from_slice(record).map_err(broken)?);
            self.sum = sum;
            self.length = self.length.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Adds a line. Until the last byte of it is there, nothing has happened.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), SimError> {
        let record =
            serde_json::to_string(record).map_err(|source| self.failed("write", source.into()))?;
        let sum = sum(self.sum, record.as_bytes());
        let line = format!("{sum:0DIGITS$x} {record}\n");
        // What a killed process left of a line is not believed; nor need anybody read it again and again.
        let there = self.file.metadata().map_err(|error| self.failed("write", error))?.len();
        if there != self.length {
            step();
            self.file.set_len(self.length).map_err(|error| self.failed("write", error))?;
        }
        step();
        self.file
            .write_all_at(line.as_bytes(), self.length)
            .map_err(|error| self.failed("write", error))?;
        step();
        self.sum = sum;
        self.length = self.length.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Whether no other process uses this journal. From then on this one does not either.
    pub(super) fn is_left_by_all(&self) -> bool {
        self.file.try_lock_exclusive().is_ok()
    }

    fn failed(&self, what: &'static str, source: io::Error) -> SimError {
        SimError::io(what, self.path.clone(), source)
    }
}

/// The record in `line` and the line's sum, if it is whole and was written behind what has the sum `before`.
fn believed(line: &[u8], before: u64) -> Option<(&[u8], u64)> {
    let (told, rest) = line.split_at_checked(DIGITS)?;
    let record = rest.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let sum = sum(before, record);
    let told = u64::from_str_radix(std::str::from_utf8(told).ok()?, 16).ok()?;
    (told == sum).then_some((record, sum))
}
