//! A world in memory, and a clock that only sleeps advance.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use xen::{Interrupt, Kib};
use xmem_sim::{Faults, Observer, SimHost, World};

pub(crate) const fn mib(mib: u64) -> Kib {
    Kib::from_mib(mib)
}

/// A world and its hosts.
pub(crate) struct Bed {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) clock: Arc<AtomicU64>,
    dir: TempDir,
}

impl Bed {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            clock: Arc::new(AtomicU64::new(1_000_000)),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn host(&self) -> SimHost {
        let clock = Arc::clone(&self.clock);
        SimHost::in_memory(&self.world, self.dir.path(), Faults::default())
            .with_clock(move || clock.load(Ordering::SeqCst))
    }

    pub(crate) fn observed(&self, observer: impl Observer + 'static) -> SimHost {
        self.host().observed_by(Arc::new(observer))
    }

    pub(crate) fn state_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn edit<R>(&self, edit: impl FnOnce(&mut World) -> R) -> R {
        edit(&mut self.world.lock().unwrap())
    }

    fn node(&self, domid: u16, name: &str) -> Option<u64> {
        let path = format!("/local/domain/{domid}/memory/{name}");
        self.world.lock().unwrap().read(&path)?.parse().ok()
    }

    pub(crate) fn target(&self, domid: u16) -> Kib {
        Kib(self.node(domid, "target").unwrap())
    }

    /// Target and video memory.
    pub(crate) fn size(&self, domid: u16) -> Kib {
        Kib(self.target(domid).0 + self.node(domid, "videoram").unwrap_or(0))
    }

    pub(crate) fn held(&self, domid: u16) -> Kib {
        self.world.lock().unwrap().domains[&domid].current_kib
    }

    pub(crate) fn limit(&self, domid: u16) -> Kib {
        self.world.lock().unwrap().domains[&domid].limit_kib
    }

    /// What the host has available.
    pub(crate) fn available(&self) -> Kib {
        let world = self.world.lock().unwrap();
        Kib(world.free().0.saturating_sub(world.claimed().0))
    }

    pub(crate) fn sleeper(&self) -> Sleeper<'_> {
        Sleeper { bed: self, waits: Mutex::default(), events: Mutex::default(), ends_at: None }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst) - 1_000_000
    }
}

/// Sleeps by advancing the clock, and applies the edits that are due.
pub(crate) struct Sleeper<'b> {
    bed: &'b Bed,
    waits: Mutex<Vec<String>>,
    events: Mutex<Vec<Event>>,
    ends_at: Option<u64>,
}

/// The edits, each with its time.
type Event = (u64, Box<dyn FnOnce(&mut World) + Send>);

impl Sleeper<'_> {
    /// Applies `edit` at `ms` of the clock.
    pub(crate) fn at(self, ms: u64, edit: impl FnOnce(&mut World) + Send + 'static) -> Self {
        self.events.lock().unwrap().push((ms, Box::new(edit)));
        self
    }

    /// Interrupts from `ms` of the clock on.
    pub(crate) fn interrupting_at(self, ms: u64) -> Self {
        Self { ends_at: Some(ms), ..self }
    }

    /// The texts of what was waited for, each once.
    pub(crate) fn waits(&self) -> Vec<String> {
        let mut waits = self.waits.lock().unwrap().clone();
        waits.dedup();
        waits
    }
}

impl Interrupt for Sleeper<'_> {
    fn pending(&self) -> bool {
        self.ends_at.is_some_and(|end| self.bed.now() >= end)
    }

    fn sleep(&self, time: Duration) -> bool {
        self.bed.clock.fetch_add(u64::try_from(time.as_millis()).unwrap().max(1), Ordering::SeqCst);
        let now = self.bed.now();
        let mut events = self.events.lock().unwrap();
        let (due, later) = std::mem::take(&mut *events).into_iter().partition(|(at, _)| *at <= now);
        *events = later;
        let due: Vec<Event> = due;
        for (_, edit) in due {
            self.bed.edit(edit);
        }
        self.pending()
    }

    fn waiting_for(&self, what: &dyn fmt::Display) {
        self.waits.lock().unwrap().push(what.to_string());
    }
}
