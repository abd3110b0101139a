//! A few changes at once, in every order that a scheduler thinks of, and what has to be true at the end.
//!
//! Owns the verdict on one schedule: the end is that of a serial order of the changes that are done, and
//! one more change finds nothing in its way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use shuttle::scheduler::Scheduler;
use shuttle::{Config, Runner};
use xmem::plan::Wish;

use crate::mishap::{self, Mishap};
use crate::process::{Ended, Process};
use crate::serial::{Serial, alone};
use crate::stage::{Legal, Locking, Stage, Switch, scratch};
use crate::world::{Numbers, World};

pub(crate) fn set(size: &str) -> Wish {
    Wish::Set { size: size.parse().unwrap(), raise_max: false, force: false }
}

pub(crate) fn raise(size: &str) -> Wish {
    Wish::Set { size: size.parse().unwrap(), raise_max: true, force: false }
}

pub(crate) fn max(size: &str) -> Wish {
    Wish::Max { size: size.parse().unwrap() }
}

/// The changes that are played, and what goes wrong with the first of them.
pub(crate) struct Play {
    wishes: Vec<Wish>,
    mishaps: Vec<Mishap>,
    locking: Locking,
    switch: Switch,
    serial: Arc<Serial>,
    legal: Legal,
    found: Arc<Mutex<Found>>,
    /// The ends from which it is known how it goes on.
    followed: Mutex<BTreeSet<Numbers>>,
}

/// What came of all schedules together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// How many there were.
    pub(crate) schedules: usize,
    /// In how many of them all mishaps came about.
    pub(crate) mishaps: usize,
    /// What was seen by those who took the lock or gave it back.
    pub(crate) seen: BTreeSet<Numbers>,
    /// What was left at the end, and, where there is a lock, when another one had been there.
    pub(crate) ends: BTreeSet<Numbers>,
}

impl Play {
    /// Of `wishes`, in peace.
    pub(crate) fn new(wishes: &[Wish]) -> Self {
        let serial = Serial::of(wishes, scratch().path());
        let legal = serial.legal();
        Self {
            wishes: wishes.to_vec(),
            mishaps: Vec::new(),
            locking: Locking::Shared,
            switch: Switch::AtEachCall,
            serial: Arc::new(serial),
            legal,
            found: Arc::default(),
            followed: Mutex::default(),
        }
    }

    /// The same, with these `mishaps`.
    pub(crate) fn with(&self, mishaps: &[Mishap]) -> Self {
        Self {
            wishes: self.wishes.clone(),
            mishaps: mishaps.to_vec(),
            serial: Arc::clone(&self.serial),
            legal: Arc::clone(&self.legal),
            found: Arc::default(),
            followed: Mutex::default(),
            ..*self
        }
    }

    /// The same, with the lock as `locking` says.
    pub(crate) fn locking(self, locking: Locking) -> Self {
        Self { locking, ..self }
    }

    /// The same, switching where `switch` says.
    pub(crate) fn switching(self, switch: Switch) -> Self {
        Self { switch, ..self }
    }

    /// Plays all schedules of `scheduler`.
    pub(crate) fn run(self, scheduler: impl Scheduler + 'static) -> Found {
        let mut config = Config::new();
        config.stack_size = 0x40000;
        let found = Arc::clone(&self.found);
        Runner::new(scheduler, config).run(move || self.once());
        let found = found.lock().unwrap();
        found.clone()
    }

    /// What was found so far, also while it is running.
    pub(crate) fn found(&self) -> Arc<Mutex<Found>> {
        Arc::clone(&self.found)
    }

    fn once(&self) {
        let folder = scratch();
        let stage = Arc::new(Stage::new(
            World::new(),
            folder.path(),
            self.locking,
            self.switch,
            (self.locking == Locking::Shared).then(|| Arc::clone(&self.legal)),
        ));
        let others: Vec<_> = (1..self.wishes.len())
            .map(|who| {
                let (stage, wish) = (Arc::clone(&stage), self.wishes[who]);
                shuttle::thread::spawn(move || Process::run(&stage, who, &wish, &[]))
            })
            .collect();
        let first = Process::run(&stage, 0, &self.wishes[0], &self.mishaps);
        let mut ended = vec![first.ended];
        ended.extend(others.into_iter().map(|other| other.join().unwrap().ended));

        let end = match self.locking {
            Locking::Shared => self.judge(&stage, folder.path(), &ended, first.mishaps > 0),
            Locking::TakenOut => stage.numbers(),
        };
        let mut found = self.found.lock().unwrap();
        found.schedules += 1;
        found.mishaps += usize::from(first.mishaps == self.mishaps.len());
        found.seen.extend(stage.seen());
        found.ends.insert(end);
    }

    /// Whether what is left after the changes have `ended` so is what they say, and what comes of it.
    fn judge(&self, stage: &Stage, folder: &Path, ended: &[Ended], troubled: bool) -> Numbers {
        let (now, files) = (stage.numbers(), stage.files());
        let what =
            || format!("{:?}, {:?}: {ended:?}, {now:?}, {files:?}", self.wishes, self.mishaps);
        for (who, ended) in ended.iter().enumerate() {
            let told = matches!(ended, Ended::Done | Ended::Refused);
            assert!(told || (who == 0 && troubled), "it failed without a cause: {}", what());
        }
        let known = !matches!(ended[0], Ended::Doubt | Ended::Died);
        if known {
            assert!(self.serial.explains(ended, now), "no serial order: {}", what());
            assert!(files.is_empty(), "left behind: {}", what());
            if !self.followed.lock().unwrap().insert(now) {
                return now;
            }
        }
        // Refused, so that nothing but a settlement changes anything.
        let (report, settled) = self.next(stage.snapshot(), folder, &set("15T"));
        assert_eq!(report, Ended::Refused, "{}", what());
        assert!(self.serial.explains(ended, settled.numbers()), "not settled: {}", what());
        assert!(!known || settled.numbers() == now, "nothing to settle: {}", what());
        // And nothing is in the way of another one.
        let (report, world) = self.next(settled.clone(), folder, &set("1G"));
        assert_eq!(report, Ended::Done, "{}", what());
        let limit = (1 << 20) + 1024;
        let expected = Numbers { target: 1 << 20, limit, ..settled.numbers() };
        assert_eq!(world.numbers(), expected, "{}", what());
        settled.numbers()
    }

    /// One more change in the same folder, which has to be empty afterwards.
    fn next(&self, world: World, folder: &Path, wish: &Wish) -> (Ended, World) {
        let (report, world) = alone(world, wish, &[], folder);
        let left = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(left, 0, "files are left behind: {:?}, {:?}", self.wishes, self.mishaps);
        (report.ended, world)
    }
}

/// All that can go wrong, once more, with a change as `wish` says that has had `mishaps` so far.
pub(crate) fn mishaps_after(wish: &Wish, mishaps: &[Mishap]) -> Vec<Mishap> {
    let calls = alone(World::new(), wish, mishaps, scratch().path()).0.calls;
    let from = mishaps.last().map_or(0, |last| last.at + 1);
    mishap::mishaps(&calls, from).collect()
}
