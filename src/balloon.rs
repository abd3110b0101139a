//! Waiting until the guest has followed its target, and telling why it has not.
//!
//! Owns the looks at the guest while it moves. Never changes anything, and prints nothing: what is
//! seen is told to whoever waits. When to go on waiting is decided in `vigil`, which is pure; what an
//! end means to a user stands in `ending`.

mod ending;
mod vigil;

use std::io;
use std::time::{Duration, Instant};

use tracing::debug;

pub use self::ending::{Ending, Reason, Waited};
pub use self::vigil::{Patience, Seen, Verdict, Vigil};
use crate::change::Outcome;
use crate::error::Cause;
use crate::host::Host;
use crate::hypervisor::{DomainInfo, Hypervisor as _};
use crate::nodes::Nodes;
use crate::plan::TOLERANCE;
use crate::signals::HoldOff;
use crate::size::Kib;

/// Whether a guest that holds `current` has got to where it is `wanted`: within [`TOLERANCE`], on
/// either side. One that went too far is not there, as one that did not go far enough.
pub const fn is_there(current: Kib, wanted: Kib) -> bool {
    current.0.abs_diff(wanted.0) <= TOLERANCE.0
}

/// A clock that can be rested on.
pub trait Time {
    /// How long it has been running.
    fn now(&self) -> Duration;

    /// Rests for `time`. `true`: the wait is to end.
    ///
    /// # Errors
    /// The kernel's.
    fn rest(&mut self, time: Duration) -> io::Result<bool>;
}

/// The real clock. A wait is to end when a signal comes that will end the process.
#[derive(Debug)]
pub struct Clock<'a> {
    begun: Instant,
    signals: &'a HoldOff,
}

impl<'a> Clock<'a> {
    /// Starts it.
    pub fn start(signals: &'a HoldOff) -> Self {
        Self { begun: Instant::now(), signals }
    }
}

impl Time for Clock<'_> {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn rest(&mut self, time: Duration) -> io::Result<bool> {
        self.signals.rest(time)
    }
}

/// One look at a guest that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When, since the wait began.
    pub at: Duration,
    /// What it held before the change.
    pub from: Kib,
    /// What it holds.
    pub current: Kib,
    /// What it is to hold.
    pub wanted: Kib,
}

impl Progress {
    /// How far it is from where it should be.
    pub const fn to_go(&self) -> Kib {
        Kib(self.current.0.abs_diff(self.wanted.0))
    }
}

/// What is seen of a guest that is waited for.
#[derive(Debug)]
pub enum News {
    /// It is on its way.
    Moves(Progress),
    /// Its wait is over.
    Ends(Waited),
}

/// Waits until the guest of each outcome is where its target wants it, or until there is no use in
/// waiting for it. All are looked at in turn, each with patience of its own; what is seen is told with
/// the place of the outcome among `outcomes`. Every one of them ends once.
pub fn wait<H: Host>(
    host: &H,
    outcomes: &[&Outcome],
    patience: Patience,
    time: &mut impl Time,
    told: &mut dyn FnMut(usize, News),
) {
    let mut store = None;
    let mut waiting: Vec<(usize, Guest<'_>)> = outcomes
        .iter()
        .enumerate()
        .map(|(place, outcome)| (place, Guest::new(outcome, patience)))
        .collect();
    loop {
        let mut rest = Duration::MAX;
        let mut on_their_way = Vec::with_capacity(waiting.len());
        for (place, mut guest) in waiting {
            match guest.look(host, &mut store, time).unwrap_or_else(Look::failed) {
                Look::On { progress, rest: least } => {
                    told(place, News::Moves(progress));
                    rest = rest.min(least);
                    on_their_way.push((place, guest));
                }
                Look::Over(end) => told(place, News::Ends(guest.ended(host, end, time))),
            }
        }
        waiting = on_their_way;
        if waiting.is_empty() {
            return;
        }
        let stopped = time.rest(rest);
        if matches!(stopped, Ok(false)) {
            continue;
        }
        for (place, guest) in waiting {
            let end = match &stopped {
                Ok(_) => Ending::Interrupted,
                Err(error) => Ending::LostSight(Cause::Os { what: "signals", source: copy(error) }),
            };
            told(place, News::Ends(guest.ended(host, end, time)));
        }
        return;
    }
}

/// What one look comes to.
enum Look {
    /// It is on its way; look again after `rest` at the latest.
    On { progress: Progress, rest: Duration },
    /// The wait is over.
    Over(Ending),
}

impl Look {
    fn failed(cause: Cause) -> Self {
        Self::Over(match cause {
            Cause::Gone => Ending::Gone,
            cause => Ending::LostSight(cause),
        })
    }
}

/// The same error of the kernel's once more.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// A guest that is waited for.
struct Guest<'a> {
    outcome: &'a Outcome,
    nodes: Nodes,
    patience: Patience,
    vigil: Vigil,
    /// The last look.
    info: DomainInfo,
}

impl<'a> Guest<'a> {
    fn new(outcome: &'a Outcome, patience: Patience) -> Self {
        let (from, plan) = (outcome.info.current, &outcome.plan);
        Self {
            outcome,
            nodes: Nodes::of(outcome.domain.identity),
            patience,
            vigil: Vigil::new(patience, plan.target, plan.wanted, from),
            info: outcome.info,
        }
    }

    /// One look, through `store`, which is connected to if it is not yet.
    fn look<H: Host>(
        &mut self,
        host: &H,
        store: &mut Option<H::Store>,
        time: &impl Time,
    ) -> Result<Look, Cause> {
        let identity = self.outcome.domain.identity;
        let open = match store.take() {
            Some(open) => open,
            None => host.connect()?,
        };
        let store = &*store.insert(open);
        match host.hypervisor().domain(identity.domid)? {
            Some(seen) if seen.identity == identity && !seen.dying => self.info = seen,
            _ => return Ok(Look::Over(Ending::Gone)),
        }
        let target = self.nodes.read_target(store)?;
        // `xl destroy` empties xenstore before it takes the domain away.
        if target.is_none() && self.nodes.read(store)?.is_empty() {
            return Ok(Look::Over(Ending::Gone));
        }
        let (at, current) = (time.now(), self.info.current);
        Ok(match self.vigil.judge(at, Seen { current, target }) {
            Verdict::There => Look::Over(Ending::There),
            Verdict::Overtaken => Look::Over(Ending::Overtaken { now: target }),
            Verdict::Stuck => Look::Over(Ending::Stuck),
            Verdict::TimeUp => Look::Over(Ending::TimeUp),
            Verdict::Wait(rest) => {
                let (from, wanted) = (self.outcome.info.current, self.outcome.plan.wanted);
                Look::On { progress: Progress { at, from, current, wanted }, rest }
            }
        })
    }

    /// How its wait ended.
    fn ended<H: Host>(&self, host: &H, end: Ending, time: &impl Time) -> Waited {
        let Self { patience, info, .. } = *self;
        let (target, wanted) = (self.outcome.plan.target, self.outcome.plan.wanted);
        debug!(domain = %self.outcome.domain, ?end, current = %info.current, %wanted, "the wait is over");
        let (took, moved) = (time.now(), self.vigil.has_moved());
        let memory = if end.is_late() && info.current < wanted {
            host.hypervisor().host_memory().ok()
        } else {
            None
        };
        let reasons = ending::reasons(&end, &info, wanted, moved, memory);
        Waited { end, info, target, wanted, moved, took, patience, reasons }
    }
}
