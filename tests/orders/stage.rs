//! What the changes of one schedule share: the world, the lock, and an eye on both.
//!
//! Owns the scheduling points, and the check that is made at each of them: while nobody holds the lock,
//! and when somebody takes it or gives it back, target and limit are in step.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
use tempfile::TempDir;

use crate::world::{Numbers, World};

/// Where the explorer may switch from one change to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Nowhere: there is one change, and no explorer.
    Never,
    /// Where the lock is taken and given back.
    AtTheLock,
    /// Before each call of the first change as well.
    AtItsCalls,
    /// Before each call of anybody as well.
    AtEachCall,
}

/// Whether the changes exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// As they do.
    Shared,
    /// Each has a lock of its own, as if there were none.
    TakenOut,
}

/// The numbers that anybody may see who respects the lock.
pub(crate) type Legal = Arc<BTreeSet<Numbers>>;

pub(crate) struct Stage {
    world: Mutex<World>,
    folder: PathBuf,
    locking: Locking,
    switch: Switch,
    /// `None`: nobody looks.
    legal: Option<Legal>,
    /// xmem's lock once more, for the explorer: it must never find a change waiting in the kernel. A
    /// change takes this one just before the file is locked, and gives it back when the file is gone.
    /// None where nobody is to wait.
    mirror: Option<BatchSemaphore>,
    held: AtomicBool,
    seen: Mutex<BTreeSet<Numbers>>,
}

impl Stage {
    /// `folder` is where the changes put their files.
    pub(crate) fn new(
        world: World,
        folder: &Path,
        locking: Locking,
        switch: Switch,
        legal: Option<Legal>,
    ) -> Self {
        let shared = locking == Locking::Shared && switch != Switch::Never;
        Self {
            world: Mutex::new(world),
            folder: folder.to_owned(),
            locking,
            switch,
            legal,
            mirror: shared.then(|| BatchSemaphore::new(1, Fairness::Unfair)),
            held: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }

    /// The state folder of the change `who`.
    pub(crate) fn folder(&self, who: usize) -> PathBuf {
        match self.locking {
            Locking::Shared => self.folder.clone(),
            Locking::TakenOut => {
                let own = self.folder.join(who.to_string());
                fs::create_dir_all(&own).unwrap();
                own
            }
        }
    }

    /// The world as it is.
    pub(crate) fn snapshot(&self) -> World {
        self.world.lock().unwrap().clone()
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.world.lock().unwrap().numbers()
    }

    /// What was seen by those who took the lock or gave it back.
    pub(crate) fn seen(&self) -> BTreeSet<Numbers> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn act<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut self.world.lock().unwrap())
    }

    /// Somebody else's turn, maybe, before a call of `who`.
    pub(crate) fn switch(&self, who: usize) {
        match self.switch {
            Switch::AtEachCall => shuttle::thread::yield_now(),
            Switch::AtItsCalls if who == 0 => shuttle::thread::yield_now(),
            _ => {}
        }
        if self.locking == Locking::Shared && !self.held.load(Ordering::Relaxed) {
            self.look("while nobody holds the lock");
        }
    }

    /// Waits for the lock.
    pub(crate) fn take(&self, who: usize) {
        match &self.mirror {
            Some(mirror) => mirror.acquire_blocking(1).unwrap(),
            None => self.switch(who),
        }
        self.look("when the lock is taken");
        self.held.store(true, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self) {
        self.look("when the lock is given back");
        self.held.store(false, Ordering::Relaxed);
        if let Some(mirror) = &self.mirror {
            mirror.release(1);
        }
    }

    fn look(&self, when: &str) {
        let now = self.numbers();
        self.seen.lock().unwrap().insert(now);
        let Some(legal) = &self.legal else { return };
        let fine =
            legal.contains(&now) || self.files().iter().any(|file| file.ends_with(".xmem-intent"));
        assert!(fine, "out of step, and nothing is written down of it, {when}: {now:?}");
    }

    /// The names of what is in the state folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// A folder for the files of the changes, in memory if possible: there will be many.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("xmem-orders").tempdir_in(parent).unwrap()
}
