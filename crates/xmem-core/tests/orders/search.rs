//! A few changes at once, in every order of a scheduler. At the end the numbers must be those of some serial order of
//! the successful changes, and one more change must succeed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use shuttle::scheduler::Scheduler;
use shuttle::{Config, Runner};
use xmem_core::plan::MemoryRequest;
use xmem_sim::World;

use crate::injection::{self, Injection};
use crate::process::{Ended, run};
use crate::serial::{Serial, alone};
use crate::shared::{Legal, Locking, Numbers, SharedHost, Switch, numbers, scratch, world};

pub(crate) fn set(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: false, force: false }
}

pub(crate) fn raise(size: &str) -> MemoryRequest {
    MemoryRequest::Set { size: size.parse().unwrap(), raise_max: true, force: false }
}

pub(crate) fn max(size: &str) -> MemoryRequest {
    MemoryRequest::Max { size: size.parse().unwrap(), force: false }
}

/// The changes, and the failures of the first of them.
pub(crate) struct Search {
    requests: Vec<MemoryRequest>,
    injections: Vec<Injection>,
    locking: Locking,
    switch: Switch,
    serial: Arc<Serial>,
    legal: Legal,
    found: Arc<Mutex<Found>>,
    /// The states at the end from which the recovery is known already.
    followed: Mutex<BTreeSet<Numbers>>,
}

/// Results over all schedules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The number of schedules.
    pub(crate) schedules: usize,
    /// The number of schedules in which all injections happened.
    pub(crate) injections: usize,
    /// The numbers seen whenever the lock was taken or released.
    pub(crate) seen: BTreeSet<Numbers>,
    /// The numbers at the end and, with locking, after one more change.
    pub(crate) ends: BTreeSet<Numbers>,
}

impl Search {
    /// Of `requests`, without injections.
    pub(crate) fn new(requests: &[MemoryRequest]) -> Self {
        let serial = Serial::of(requests, scratch().path());
        let legal = serial.legal();
        Self {
            requests: requests.to_vec(),
            injections: Vec::new(),
            locking: Locking::Shared,
            switch: Switch::AtEachCall,
            serial: Arc::new(serial),
            legal,
            found: Arc::default(),
            followed: Mutex::default(),
        }
    }

    /// With these `injections`.
    pub(crate) fn with(&self, injections: &[Injection]) -> Self {
        Self {
            requests: self.requests.clone(),
            injections: injections.to_vec(),
            serial: Arc::clone(&self.serial),
            legal: Arc::clone(&self.legal),
            found: Arc::default(),
            followed: Mutex::default(),
            ..*self
        }
    }

    /// With this `locking`.
    pub(crate) fn locking(self, locking: Locking) -> Self {
        Self { locking, ..self }
    }

    /// With switches at these points.
    pub(crate) fn switching(self, switch: Switch) -> Self {
        Self { switch, ..self }
    }

    /// Runs all schedules of `scheduler`.
    pub(crate) fn run(self, scheduler: impl Scheduler + 'static) -> Found {
        let mut config = Config::new();
        config.stack_size = 0x80000;
        let found = Arc::clone(&self.found);
        Runner::new(scheduler, config).run(move || self.once());
        let found = found.lock().unwrap();
        found.clone()
    }

    /// The results so far, also while it is running.
    pub(crate) fn found(&self) -> Arc<Mutex<Found>> {
        Arc::clone(&self.found)
    }

    fn once(&self) {
        let dir = scratch();
        let shared = Arc::new(SharedHost::new(
            world(),
            dir.path(),
            self.locking,
            self.switch,
            (self.locking == Locking::Shared).then(|| Arc::clone(&self.legal)),
        ));
        let others: Vec<_> = (1..self.requests.len())
            .map(|who| {
                let (shared, request) = (Arc::clone(&shared), self.requests[who]);
                shuttle::thread::spawn(move || run(&shared, who, request, &[]))
            })
            .collect();
        let first = run(&shared, 0, self.requests[0], &self.injections);
        let mut ended = vec![first.ended];
        ended.extend(others.into_iter().map(|other| other.join().unwrap().ended));

        let end = match self.locking {
            Locking::Shared => self.verify(&shared, dir.path(), &ended, first.injections > 0),
            Locking::TakenOut => shared.numbers(),
        };
        let mut found = self.found.lock().unwrap();
        found.schedules += 1;
        found.injections += usize::from(first.injections == self.injections.len());
        found.seen.extend(shared.seen());
        found.ends.insert(end);
    }

    /// Checks that the host is in the state that the changes have reported, and that the next change can follow.
    fn verify(&self, shared: &SharedHost, dir: &Path, ended: &[Ended], injected: bool) -> Numbers {
        let (now, files) = (shared.numbers(), shared.files());
        let what =
            || format!("{:?}, {:?}: {ended:?}, {now:?}, {files:?}", self.requests, self.injections);
        for (who, ended) in ended.iter().enumerate() {
            let said = matches!(ended, Ended::Done | Ended::Refused);
            assert!(said || (who == 0 && injected), "it failed without a cause: {}", what());
        }
        let known = !matches!(ended[0], Ended::Unknown | Ended::Killed);
        if known {
            assert!(self.serial.explains(ended, now), "no serial order: {}", what());
            assert!(files.is_empty(), "left behind: {}", what());
            if !self.followed.lock().unwrap().insert(now) {
                return now;
            }
        }
        // Refused, so that nothing but a recovery changes anything.
        let (report, recovered) = self.next(shared.snapshot(), dir, set("15T"));
        assert_eq!(report, Ended::Refused, "{}", what());
        assert!(self.serial.explains(ended, numbers(&recovered)), "not recovered: {}", what());
        assert!(!known || numbers(&recovered) == now, "nothing to recover: {}", what());
        // An ordinary change succeeds too.
        let (report, world) = self.next(recovered.clone(), dir, set("1G"));
        assert_eq!(report, Ended::Done, "{}", what());
        let recovered = numbers(&recovered);
        let expected = (1 << 20, recovered.1, (1 << 20) + 1024);
        assert_eq!(numbers(&world), expected, "{}", what());
        recovered
    }

    /// Makes one more change in the same directory, which must be empty afterwards.
    fn next(&self, world: World, dir: &Path, request: MemoryRequest) -> (Ended, World) {
        let (report, world) = alone(world, request, &[], dir);
        let left = std::fs::read_dir(dir).unwrap().count();
        assert_eq!(left, 0, "files are left behind: {:?}, {:?}", self.requests, self.injections);
        (report.ended, world)
    }
}

/// Every further failure of a change after these `injections`.
pub(crate) fn injections_after(request: MemoryRequest, injections: &[Injection]) -> Vec<Injection> {
    let calls = alone(world(), request, injections, scratch().path()).0.calls;
    let from = injections.last().map_or(0, |last| last.at + 1);
    injection::injections(&calls, from).collect()
}
