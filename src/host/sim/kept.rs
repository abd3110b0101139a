//! A world as it is kept in its folder: whole in `world.json`, and what has changed since in `world.journal`.
//!
//! Owns which of the two a change goes to, and in what order they are written, so that a kill at any point
//! leaves either the world before a change or the world after it. Changes something only under the folder's
//! lock. Never looks into the world.
//!
//! A small world is written as a whole at each change. Of a large one that would take longer the larger it is: its
//! first change in a while writes it as a whole, with a name of its own for the journal that is begun then, and
//! each later change adds one line there, until they are more than the world. The last process that leaves writes
//! the world as a whole once more, without a journal. The name is new each time, so that the copy of a world that
//! somebody keeps and puts back never meets a journal that was begun on another copy of it.

use std::fs;
use std::io;
use std::path::Path;

use tracing::debug;

use super::error::SimError;
use super::journal::{self, Journal};
use super::record::Record;
use super::snapshot::Snapshot;
use super::start;
use super::step::step;
use super::world::World;
use crate::error::chain;

/// The world as this process knows it, and where it knows it from.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) world: World,
    /// None before there is a world in the folder.
    snapshot: Option<Snapshot>,
    journal: Option<Journal>,
}

impl Kept {
    /// The start world, which is nowhere yet.
    pub(super) fn nowhere() -> Self {
        Self { world: start::world(), snapshot: None, journal: None }
    }

    /// The world in `dir`, if there is one; `known` is what was known of it.
    pub(super) fn load(dir: &Path, known: Option<Self>) -> Result<Option<Self>, SimError> {
        if let Some(mut known) = known
            && known.catch_up(dir)?
        {
            return Ok(Some(known));
        }
        let Some((snapshot, mut world)) = Snapshot::read(dir)? else { return Ok(None) };
        let replay = &mut |record| world.replay(record);
        let journal = match snapshot.journal() {
            Some(sum) => Journal::open(dir, sum, replay)?,
            None => None,
        };
        Ok(Some(Self { world, snapshot: Some(snapshot), journal }))
    }

    /// Learns what others have done, and says whether that could be learnt without reading all anew.
    fn catch_up(&mut self, dir: &Path) -> Result<bool, SimError> {
        let Some(snapshot) = &self.snapshot else { return Ok(false) };
        if !snapshot.is_current(dir)? {
            return Ok(false);
        }
        let world = &mut self.world;
        let replay = &mut |record| world.replay(record);
        match (&mut self.journal, snapshot.journal()) {
            (Some(journal), _) => journal.catch_up(replay),
            // There was none when this world was read, or not yet.
            (none, Some(sum)) => {
                *none = Journal::open(dir, sum, replay)?;
                Ok(true)
            }
            (None, None) => Ok(true),
        }
    }

    /// Keeps a change that the world has in it already.
    pub(super) fn keep(&mut self, dir: &Path, change: &Record) -> Result<(), SimError> {
        let length = match &self.snapshot {
            Some(snapshot) if !snapshot.is_small() => snapshot.length(),
            _ => return self.write(dir),
        };
        match &mut self.journal {
            Some(journal) if usize::try_from(journal.length()).is_ok_and(|all| all <= length) => {
                journal.append(change)
            }
            _ => self.begin(dir),
        }
    }

    /// Writes the world as a whole, which goes on in no journal.
    pub(super) fn write(&mut self, dir: &Path) -> Result<(), SimError> {
        self.snapshot = Some(Snapshot::write(dir, &self.world, None)?);
        self.journal = None;
        // Only now is there nothing in it that is nowhere else.
        step();
        match fs::remove_file(dir.join(journal::NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                debug!(%error, "what stands in the journal's place stays");
            }
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    /// Writes the world as a whole, and begins the journal in which it goes on.
    fn begin(&mut self, dir: &Path) -> Result<(), SimError> {
        // No larger than the numbers that every reader of JSON can tell apart.
        let snapshot = Snapshot::write(dir, &self.world, Some(fastrand::u64(1..1 << 53)))?;
        let begun = snapshot.journal().map(|sum| Journal::begin(dir, sum)).transpose();
        self.snapshot = Some(snapshot);
        self.journal = begun.unwrap_or_else(|error| {
            debug!(error = %chain(&error), "no journal");
            None
        });
        if self.journal.is_none()
            && let Err(error) = self.write(dir)
        {
            // The change is made, whatever is in the journal's place.
            debug!(error = %chain(&error), "the world is left with the name of a journal");
        }
        Ok(())
    }

    /// Whether this process is to write the world as a whole before it goes: nobody else uses its journal.
    pub(super) fn is_to_be_left(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_left_by_all)
    }

    /// Whether the world goes on in a journal.
    pub(super) const fn has_journal(&self) -> bool {
        self.journal.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Kib;

    /// Who opens a folder looks into it before it is his turn there: what he finds can be half of what another
    /// is about to leave.
    #[test]
    fn a_journal_that_was_not_there_yet_is_found_later() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut world = start::world();
        world.xenstore.write("/data", &"x".repeat(20_000));
        let snapshot = Snapshot::write(dir, &world, Some(17)).unwrap();
        let early = Kept::load(dir, None).unwrap().unwrap();
        assert!(!early.has_journal());
        let mut journal = Journal::begin(dir, snapshot.journal().unwrap()).unwrap();
        let change = Record { memory_kib: Some(Kib(4)), ..Record::default() };
        journal.append(&change).unwrap();
        assert_eq!(Kept::load(dir, Some(early)).unwrap().unwrap().world.memory, Kib(4));
    }
}
