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

/// Waits until the guest of `outcome` is where its target wants it, or until there is no use in
/// waiting. Every look at a guest that is not there is told to `news`.
pub fn wait<H: Host>(
    host: &H,
    outcome: &Outcome,
    patience: Patience,
    time: &mut impl Time,
    news: &mut dyn FnMut(&Progress),
) -> Waited {
    let (from, wanted) = (outcome.info.current, outcome.plan.wanted);
    let mut vigil = Vigil::new(patience, outcome.plan.target, wanted, from);
    let mut info = outcome.info;
    let end = watch(host, outcome, &mut vigil, &mut info, time, &mut |at, current| {
        news(&Progress { at, from, current, wanted });
    });
    let end = end.unwrap_or_else(|cause| match cause {
        Cause::Gone => Ending::Gone,
        cause => Ending::LostSight(cause),
    });
    let (took, target) = (time.now(), outcome.plan.target);
    debug!(domain = %outcome.domain, ?end, current = %info.current, %wanted, "the wait is over");
    let moved = vigil.has_moved();
    let memory = if end.is_late() && info.current < wanted {
        host.hypervisor().host_memory().ok()
    } else {
        None
    };
    let reasons = ending::reasons(&end, &info, wanted, moved, memory);
    Waited { end, info, target, wanted, moved, took, patience, reasons }
}

/// Looks until the end. `info` is always the last look.
fn watch<H: Host>(
    host: &H,
    outcome: &Outcome,
    vigil: &mut Vigil,
    info: &mut DomainInfo,
    time: &mut impl Time,
    news: &mut dyn FnMut(Duration, Kib),
) -> Result<Ending, Cause> {
    let identity = outcome.domain.identity;
    let nodes = Nodes::of(identity);
    let store = host.connect()?;
    loop {
        match host.hypervisor().domain(identity.domid)? {
            Some(seen) if seen.identity == identity && !seen.dying => *info = seen,
            _ => return Ok(Ending::Gone),
        }
        let target = nodes.read_target(&store)?;
        // `xl destroy` empties xenstore before it takes the domain away.
        if target.is_none() && nodes.read(&store)?.is_empty() {
            return Ok(Ending::Gone);
        }
        let (at, current) = (time.now(), info.current);
        let rest = match vigil.judge(at, Seen { current, target }) {
            Verdict::There => return Ok(Ending::There),
            Verdict::Overtaken => return Ok(Ending::Overtaken { now: target }),
            Verdict::Stuck => return Ok(Ending::Stuck),
            Verdict::TimeUp => return Ok(Ending::TimeUp),
            Verdict::Wait(rest) => rest,
        };
        news(at, current);
        if time.rest(rest).map_err(|source| Cause::Os { what: "signals", source })? {
            return Ok(Ending::Interrupted);
        }
    }
}
