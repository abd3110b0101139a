//! What the changes of one schedule share: the world and the lock.
//!
//! At each scheduling point without the lock held, and when it is taken and released, target and limit must be in step.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
use tempfile::TempDir;
use xen::{DomId, Identity, Kib};
use xmem_sim::{GuestType, World};

/// Target, static-max and limit, in KiB.
pub(crate) type Numbers = (u64, u64, u64);

/// A PVH guest with 4 of at most 8 GiB, on a host of 64 GiB.
pub(crate) fn world() -> World {
    let gib = |gib: u64| Kib::from_mib(gib * 1024);
    let mut world = World::empty(gib(64));
    world.create(7, "web", GuestType::Pvh, gib(4), gib(8), 0);
    world
}

pub(crate) fn identity() -> Identity {
    Identity { domid: DomId::new(7).unwrap(), uuid: world().domains[&7].uuid }
}

pub(crate) fn numbers(world: &World) -> Numbers {
    let node = |name: &str| {
        world.read(&format!("/local/domain/7/memory/{name}")).unwrap().parse().unwrap()
    };
    (node("target"), node("static-max"), world.domains[&7].limit_kib.0)
}

/// The points at which the explorer may switch between changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// None: there is one change and no explorer.
    Never,
    /// When the lock is taken and released.
    AtTheLock,
    /// Also before each call of the first change.
    AtItsCalls,
    /// Also before each call of every change.
    AtEachCall,
}

/// Whether the changes exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// They share the domain's lock.
    Shared,
    /// Each has its own lock, as if there were none.
    TakenOut,
}

/// The numbers visible to every program that takes the lock.
pub(crate) type Legal = Arc<BTreeSet<Numbers>>;

pub(crate) struct SharedHost {
    pub(crate) world: Arc<Mutex<World>>,
    dir: PathBuf,
    locking: Locking,
    switch: Switch,
    /// `None` if they are not recorded.
    legal: Option<Legal>,
    /// A mirror of xmem's lock for the explorer, which must never find a change blocked in the kernel. A change takes
    /// it just before it locks the file, and releases it when the file is gone. `None` if no change can wait.
    mirror: Option<BatchSemaphore>,
    held: AtomicBool,
    seen: Mutex<BTreeSet<Numbers>>,
}

impl SharedHost {
    /// `dir` is where the changes put their files.
    pub(crate) fn new(
        world: World,
        dir: &Path,
        locking: Locking,
        switch: Switch,
        legal: Option<Legal>,
    ) -> Self {
        let shared = locking == Locking::Shared && switch != Switch::Never;
        Self {
            world: Arc::new(Mutex::new(world)),
            dir: dir.to_owned(),
            locking,
            switch,
            legal,
            mirror: shared.then(|| BatchSemaphore::new(1, Fairness::Unfair)),
            held: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }

    /// The state directory of the change `who`.
    pub(crate) fn dir(&self, who: usize) -> PathBuf {
        match self.locking {
            Locking::Shared => self.dir.clone(),
            Locking::TakenOut => {
                let own = self.dir.join(who.to_string());
                fs::create_dir_all(&own).unwrap();
                own
            }
        }
    }

    /// The present world.
    pub(crate) fn snapshot(&self) -> World {
        self.world.lock().unwrap().clone()
    }

    pub(crate) fn numbers(&self) -> Numbers {
        numbers(&self.world.lock().unwrap())
    }

    /// The numbers seen when the lock was taken or released.
    pub(crate) fn seen(&self) -> BTreeSet<Numbers> {
        self.seen.lock().unwrap().clone()
    }

    /// Lets another change run before a call of `who`.
    pub(crate) fn switch(&self, who: usize) {
        match self.switch {
            Switch::AtEachCall => shuttle::thread::yield_now(),
            Switch::AtItsCalls if who == 0 => shuttle::thread::yield_now(),
            _ => {}
        }
        if self.locking == Locking::Shared && !self.held.load(Ordering::Relaxed) {
            self.record("while the lock is free");
        }
    }

    /// Waits for the lock.
    pub(crate) fn take(&self, who: usize) {
        match &self.mirror {
            Some(mirror) => mirror.acquire_blocking(1).unwrap(),
            None => self.switch(who),
        }
        self.record("when the lock is taken");
        self.held.store(true, Ordering::Relaxed);
    }

    pub(crate) fn release(&self) {
        self.record("when the lock is released");
        self.held.store(false, Ordering::Relaxed);
        if let Some(mirror) = &self.mirror {
            mirror.release(1);
        }
    }

    fn record(&self, when: &str) {
        let now = self.numbers();
        self.seen.lock().unwrap().insert(now);
        let Some(legal) = &self.legal else { return };
        let has_record = || self.files().iter().any(|file| file.ends_with(".xmem-intent"));
        assert!(
            legal.contains(&now) || has_record(),
            "out of step without a record, {when}: {now:?}"
        );
    }

    /// The names of the files in the state directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// A directory for the changes' files, on a tmpfs if possible: there are many.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("xmem-orders").tempdir_in(parent).unwrap()
}
