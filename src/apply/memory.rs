//! The host's free memory, less what guests have been promised in this run and not taken yet.
//!
//! Owns the answer to whether there is enough for the next one. Never changes anything.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Step;
use crate::domain::Identity;
use crate::error::{After, Cause, Failure};
use crate::host::Host;
use crate::hypervisor::{Hypervisor as _, HypervisorError};
use crate::signals::Signals;
use crate::size::Kib;

/// How often the host's free memory is looked at while a change waits for it.
const LOOK: Duration = Duration::from_millis(200);

/// See the module's text.
pub(super) struct Memory<'s, H> {
    host: &'s H,
    patience: Duration,
    /// Those whose change is made.
    made: Vec<&'s Step>,
    known: Option<Known>,
    /// When there was last more of it than before, and how much.
    moved: Option<(Instant, Kib)>,
}

/// What was seen when all guests were last looked at. Since then each may have taken some of what it was
/// promised, which is then counted twice, as promised and as not free: what is left is more than this
/// says, and never less.
#[derive(Clone, Copy)]
struct Known {
    free: Kib,
    /// Not taken then, and promised since.
    promised: Kib,
}

impl<'s, H: Host> Memory<'s, H> {
    /// Of `host`, where nothing is promised yet.
    pub(super) const fn new(host: &'s H, patience: Duration) -> Self {
        Self { host, patience, made: Vec::new(), known: None, moved: None }
    }

    /// Waits until there is enough for `step`, until none comes any more, or until a signal waits. Says
    /// how much it will take; nothing of one that was not asked, since it does not grow.
    pub(super) fn wait_for(
        &mut self,
        step: &Step,
        signals: &mut Signals,
    ) -> Result<Option<Kib>, Failure> {
        self.enough_for(step, signals).map_err(|cause| Failure {
            domain: Some(step.domain.clone()),
            cause,
            after: After::Unchanged,
        })
    }

    /// The change of `step` is made: what it `takes` is not there for others.
    pub(super) fn promise(&mut self, step: &'s Step, takes: Option<Kib>) {
        self.made.push(step);
        self.known = self.known.zip(takes).map(|(known, takes)| Known {
            promised: Kib(known.promised.0.saturating_add(takes.0)),
            ..known
        });
    }

    fn enough_for(&mut self, step: &Step, signals: &mut Signals) -> Result<Option<Kib>, Cause> {
        let os = |source| Cause::Os { what: "signals", source };
        let signals = signals.hold_off().map_err(os)?;
        if signals.pending().map_err(os)? {
            return Err(Cause::Interrupted);
        }
        if Some(step.plan.target) <= step.plan.old.target {
            return Ok(None);
        }
        // To look at all guests before each change would take as long as there are pairs of them.
        if let Some(known) = self.known {
            let takes = step.takes(self.held_by(step)?);
            if takes <= left(known.free.min(self.free()?), known.promised) {
                return Ok(Some(takes));
            }
        }
        loop {
            let (free, takes) = self.look_for(step)?;
            if takes <= free {
                return Ok(Some(takes));
            }
            let now = Instant::now();
            match self.moved {
                Some((_, most)) if free <= most => {}
                _ => self.moved = Some((now, free)),
            }
            let since = self.moved.map_or(now, |(at, _)| at);
            if now.saturating_duration_since(since) >= self.patience {
                return Err(Cause::NoMemory { takes, free });
            }
            if signals.rest(LOOK.min(self.patience)).map_err(os)? {
                return Err(Cause::Interrupted);
            }
        }
    }

    /// Looks at all guests: what is free for `step`, and what it will take.
    fn look_for(&mut self, step: &Step) -> Result<(Kib, Kib), HypervisorError> {
        let infos = self.host.hypervisor().domains()?;
        let held: HashMap<Identity, Kib> =
            infos.iter().map(|info| (info.identity, info.current)).collect();
        let takes =
            |step: &Step| step.takes(held.get(&step.domain.identity).copied().unwrap_or_default());
        let promised = self.made.iter().fold(0_u64, |all, step| all.saturating_add(takes(step).0));
        let known = Known { free: self.free()?, promised: Kib(promised) };
        self.known = Some(known);
        Ok((left(known.free, known.promised), takes(step)))
    }

    /// What is free, and not claimed by a domain that is being built.
    fn free(&self) -> Result<Kib, HypervisorError> {
        let memory = self.host.hypervisor().host_memory()?;
        Ok(left(memory.free, memory.claimed))
    }

    /// What the guest of `step` holds now.
    fn held_by(&self, step: &Step) -> Result<Kib, HypervisorError> {
        let identity = step.domain.identity;
        let info = self.host.hypervisor().domain(identity.domid)?;
        Ok(info.filter(|info| info.identity == identity).map_or(Kib(0), |info| info.current))
    }
}

fn left(all: Kib, taken: Kib) -> Kib {
    all.minus(taken).unwrap_or_default()
}
