//! A simulated host on the test's clock, and a wait on it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use xen::{Interrupt, Kib};
use xmem_core::change::{ChangeRequest, ChangeSession, Outcome};
use xmem_core::failure::Failure;
use xmem_core::plan::MemoryRequest;
use xmem_core::wait::{Clock, Progress, WaitEvent, WaitPolicy, WaitReport, wait_by};
use xmem_sim::{Call, Faults, Observer, SimDomain, SimHost, Verdict, World};

pub(crate) const POLICY: WaitPolicy = WaitPolicy {
    patience: Duration::from_secs(30),
    at_most: None,
    within: Kib::from_mib(1),
    lock_timeout: Duration::from_mins(1),
};

/// A moment before the first millisecond of the sim's clock.
const EPOCH_MS: u64 = 1_000_000;

/// `web` (7) has 1 GiB and a maximum of 2 GiB; `db` (8) and `win` (9) run too.
pub(crate) struct Scene {
    world: Arc<Mutex<World>>,
    dir: TempDir,
    now_ms: Arc<AtomicU64>,
}

/// The course of a wait.
pub(crate) struct Waited {
    pub(crate) progress: Vec<Progress>,
    /// The times of the changes that nudged the driver.
    pub(crate) nudged: Vec<(Duration, usize)>,
    pub(crate) not_nudged: Vec<Failure>,
    pub(crate) report: WaitReport,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(Mutex::new(World::start()));
        Self { world, dir, now_ms: Arc::default() }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn edit(&self, domid: u16, by: impl FnOnce(&mut SimDomain)) {
        by(self.world().domains.get_mut(&domid).unwrap());
    }

    pub(crate) fn state_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The host, on the test's clock.
    pub(crate) fn host(&self) -> SimHost {
        let now_ms = Arc::clone(&self.now_ms);
        SimHost::in_memory(&self.world, self.dir.path(), Faults::default())
            .with_clock(move || EPOCH_MS + now_ms.load(Ordering::Relaxed))
    }

    /// The host, with all calls but the balloons' recorded in `calls`.
    pub(crate) fn host_with_calls(&self, calls: &Arc<Mutex<Vec<String>>>) -> SimHost {
        let calls = Arc::clone(calls);
        let observer = move |call: &Call<'_>| {
            calls.lock().unwrap().push(call.to_string());
            Verdict::Proceed
        };
        self.host().observed_by(Arc::new(observer) as Arc<dyn Observer>)
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::Relaxed))
    }

    /// Sets the size of `domid`.
    pub(crate) fn set(&self, domid: u16, size: &str) -> Outcome {
        let memory =
            MemoryRequest::Set { size: size.parse().unwrap(), raise_max: false, force: false };
        let request = ChangeRequest {
            domain: format!("id:{domid}").parse().unwrap(),
            memory,
            keep_free: None,
            dry_run: false,
            lock_timeout: Duration::ZERO,
        };
        let host = self.host();
        ChangeSession::new(&host).change(&request, &xen::NoInterrupt).unwrap()
    }

    /// Waits for the guests of `outcomes`; `at_sleep` is called after each sleep, and may interrupt.
    pub(crate) fn wait_for_all(
        &self,
        host: &SimHost,
        outcomes: &[&Outcome],
        policy: WaitPolicy,
        at_sleep: impl FnMut(Duration) -> bool,
    ) -> Vec<Waited> {
        let clock = TestClock {
            now_ms: &self.now_ms,
            begin: self.now(),
            at_sleep: RefCell::new(Box::new(at_sleep)),
        };
        let mut seen: Vec<(Vec<_>, Vec<_>, Vec<_>, Option<_>)> =
            outcomes.iter().map(|_| (Vec::new(), Vec::new(), Vec::new(), None)).collect();
        wait_by(&clock, host, outcomes, policy, &clock, &mut |index, event| {
            let (progress, nudged, not_nudged, report) = &mut seen[index];
            assert!(report.is_none(), "an event after the end");
            match event {
                WaitEvent::Progress(step) => progress.push(step),
                WaitEvent::Nudged(changes) => nudged.push((clock.now(), changes.len())),
                WaitEvent::NotNudged(failure) => not_nudged.push(failure),
                WaitEvent::Ended(end) => *report = Some(end),
                _ => panic!("an unknown event"),
            }
        });
        let waited = |(progress, nudged, not_nudged, report): (_, _, _, Option<WaitReport>)| {
            Waited { progress, nudged, not_nudged, report: report.expect("each wait ends") }
        };
        seen.into_iter().map(waited).collect()
    }

    /// Waits for the guest of `outcome`.
    pub(crate) fn wait_for(
        &self,
        outcome: &Outcome,
        policy: WaitPolicy,
        at_sleep: impl FnMut(Duration) -> bool,
    ) -> Waited {
        self.wait_for_all(&self.host(), &[outcome], policy, at_sleep).pop().unwrap()
    }

    /// Waits for the guest of `outcome` without other actions.
    pub(crate) fn wait(&self, outcome: &Outcome, policy: WaitPolicy) -> Waited {
        self.wait_for(outcome, policy, |_| false)
    }
}

/// A clock that only sleeps advance.
struct TestClock<'a> {
    now_ms: &'a AtomicU64,
    begin: Duration,
    at_sleep: RefCell<Box<dyn FnMut(Duration) -> bool + 'a>>,
}

impl Clock for TestClock<'_> {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::Relaxed)).saturating_sub(self.begin)
    }

    fn sleep(&self, time: Duration) -> bool {
        let ms = u64::try_from(time.as_micros().div_ceil(1000)).unwrap();
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        let now = self.now();
        (self.at_sleep.borrow_mut())(now)
    }
}

/// Real time, for locks.
impl Interrupt for TestClock<'_> {
    fn pending(&self) -> bool {
        false
    }

    fn sleep(&self, time: Duration) -> bool {
        xen::NoInterrupt.sleep(time)
    }
}
