//! Many changes in one run: looked at as a whole first, then made one by one, each with its own lock
//! and transaction, in an order in which the memory is there.
//!
//! Owns the order. Each change itself is [`change`]'s.

use std::time::{Duration, Instant};

use crate::batch::Line;
use crate::change::{End, Outcome, Request, change, preview};
use crate::domain::{Domain, DomainRef, Identity};
use crate::error::{After, Cause, Failure};
use crate::host::Host;
use crate::hypervisor::{DomainInfo, Hypervisor as _, HypervisorError};
use crate::plan::{Plan, Wish};
use crate::signals::Signals;
use crate::size::Kib;

/// How often the host's free memory is looked at while a change waits for it.
const LOOK: Duration = Duration::from_millis(200);

/// How all changes of a run are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Raise a domain's maximum where its size is above it.
    pub raise_max: bool,
    /// Shrink guests below the floor.
    pub force: bool,
    /// How long to wait for each lock.
    pub lock_timeout: Duration,
    /// How long to wait for memory that does not come: the time begins again whenever some does.
    pub patience: Duration,
}

/// A change that was looked at and can be made, as far as can be seen.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line that asks for it.
    pub line: usize,
    /// The domain.
    pub domain: Domain,
    /// As it was looked at.
    pub info: DomainInfo,
    /// What it would come to.
    pub plan: Plan,
    wish: Wish,
    listed: bool,
}

impl Step {
    /// Whether its line asks for what is so already, and for nothing else: it is left as it is, wherever
    /// its limit and its guest are.
    pub fn leave_alone(&self) -> bool {
        self.listed && self.plan.changes_nothing()
    }

    /// What it would come to, as a dry run tells it.
    pub fn outlook(&self) -> Outcome {
        let end = if self.plan.changes_nothing() { End::Already } else { End::DryRun };
        Outcome {
            domain: self.domain.clone(),
            info: self.info,
            plan: self.plan.clone(),
            end,
            earlier: None,
        }
    }

    /// How much the guest will take, at its new target, of what is free now.
    fn takes(&self, current: Kib) -> Kib {
        self.plan.wanted.minus(current).unwrap_or_default()
    }
}

/// A line that cannot be carried out.
#[derive(Debug)]
pub struct Objection {
    /// The line.
    pub line: usize,
    /// Why.
    pub failure: Failure,
}

/// Looks at every line before anything is changed, and puts those that shrink a domain before those
/// that let one grow; otherwise they stay in their order.
///
/// # Errors
/// Every line that cannot be carried out.
pub fn survey<H: Host>(
    host: &H,
    lines: &[Line],
    options: Options,
) -> Result<Vec<Step>, Vec<Objection>> {
    let store = host.connect().map_err(|error| {
        let failure = Failure { domain: None, cause: error.into(), after: After::Unchanged };
        vec![Objection { line: 0, failure }]
    })?;
    let (mut steps, mut objections): (Vec<Step>, Vec<Objection>) = (Vec::new(), Vec::new());
    for line in lines {
        let Options { raise_max, force, .. } = options;
        let wish = Wish::Set { size: line.size, raise_max, force };
        let failure = match preview(host, &store, &line.domain, &wish) {
            Ok((domain, info, mut plan)) => {
                if line.listed && Some(plan.target) == plan.old.target {
                    plan.leave_alone();
                }
                let twin = steps.iter().find(|step| step.domain.identity == domain.identity);
                match twin.map(|twin| twin.line) {
                    None => {
                        let listed = line.listed;
                        steps.push(Step { line: line.number, domain, info, plan, wish, listed });
                        continue;
                    }
                    Some(earlier) => Failure {
                        domain: Some(domain),
                        cause: Cause::Twice { earlier },
                        after: After::Unchanged,
                    },
                }
            }
            Err(failure) => failure,
        };
        objections.push(Objection { line: line.number, failure });
    }
    if !objections.is_empty() {
        return Err(objections);
    }
    steps.sort_by_key(|step| Some(step.plan.target) > step.plan.old.target);
    Ok(steps)
}

/// Makes the changes, and tells each as it is made. A domain whose change fails does not keep the
/// others from theirs. Once a signal waits that will end the run, none of the rest is made; the caller
/// lets `signals` go when it has told all.
pub fn apply<H: Host>(
    host: &H,
    steps: &[Step],
    options: Options,
    signals: &mut Signals,
    told: &mut dyn FnMut(&Step, Result<Outcome, Failure>),
) {
    let mut memory = Memory { host, growing: Vec::new(), patience: options.patience, moved: None };
    for step in steps {
        if step.leave_alone() {
            told(step, Ok(step.outlook()));
            continue;
        }
        let result = memory.wait_for(step, signals).and_then(|()| {
            let request = Request {
                domain: DomainRef::Same(step.domain.identity),
                wish: step.wish,
                dry_run: false,
                lock_timeout: options.lock_timeout,
            };
            change(host, &request, signals)
        });
        if result.is_ok() {
            memory.growing.push((step.domain.identity, step.clone()));
        }
        told(step, result);
    }
}

/// The host's free memory, less what guests have been promised in this run and not taken yet.
struct Memory<'h, H> {
    host: &'h H,
    growing: Vec<(Identity, Step)>,
    patience: Duration,
    /// When there was last more of it than before, and how much.
    moved: Option<(Instant, Kib)>,
}

impl<H: Host> Memory<'_, H> {
    /// Waits until there is enough for `step`, until none comes any more, or until a signal waits.
    fn wait_for(&mut self, step: &Step, signals: &mut Signals) -> Result<(), Failure> {
        self.enough_for(step, signals).map_err(|cause| Failure {
            domain: Some(step.domain.clone()),
            cause,
            after: After::Unchanged,
        })
    }

    fn enough_for(&mut self, step: &Step, signals: &mut Signals) -> Result<(), Cause> {
        let os = |source| Cause::Os { what: "signals", source };
        let signals = signals.hold_off().map_err(os)?;
        if signals.pending().map_err(os)? {
            return Err(Cause::Interrupted);
        }
        if Some(step.plan.target) <= step.plan.old.target {
            return Ok(());
        }
        loop {
            let (free, takes) = self.left_for(step)?;
            if takes <= free {
                return Ok(());
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

    /// What is free for `step`, and what it will take.
    fn left_for(&self, step: &Step) -> Result<(Kib, Kib), HypervisorError> {
        let hypervisor = self.host.hypervisor();
        let held = |identity: Identity| -> Result<Kib, HypervisorError> {
            let info = hypervisor.domain(identity.domid)?;
            Ok(info.filter(|info| info.identity == identity).map_or(Kib(0), |info| info.current))
        };
        let memory = hypervisor.host_memory()?;
        let mut free = memory.free.minus(memory.claimed).unwrap_or_default();
        for (identity, grown) in &self.growing {
            free = free.minus(grown.takes(held(*identity)?)).unwrap_or_default();
        }
        Ok((free, step.takes(held(step.domain.identity)?)))
    }
}
