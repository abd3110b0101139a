//! Many changes in one run: looked at as a whole first, then made one by one, each with its own lock
//! and transaction, in an order in which the memory is there.
//!
//! Owns the order. Each change itself is [`change`](crate::change)'s.

mod memory;

use std::collections::HashMap;
use std::time::Duration;

use self::memory::Memory;
use crate::batch::Line;
use crate::change::{End, Outcome, Request, Series, believed};
use crate::domain::{Domain, DomainRef, Identity};
use crate::error::{After, Cause, Failure};
use crate::host::Host;
use crate::hypervisor::DomainInfo;
use crate::nodes::{Nodes, Stored, read_many};
use crate::plan::{Plan, Reading, Wish};
use crate::resolve::{Census, ResolveError};
use crate::signals::Signals;
use crate::size::Kib;
use crate::xenstore::Batch;

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
    let at_once = |cause| {
        let failure = Failure { domain: None, cause, after: After::Unchanged };
        vec![Objection { line: 0, failure }]
    };
    let store = host.connect().map_err(|error| at_once(error.into()))?;
    let looks = look(host, &store, lines).map_err(at_once)?;
    let (mut steps, mut objections) = (Vec::with_capacity(lines.len()), Vec::new());
    let mut lines_of: HashMap<Identity, usize> = HashMap::new();
    for (line, look) in lines.iter().zip(looks) {
        let identity = look.domain.as_ref().map(|domain| domain.identity);
        let earlier = identity.and_then(|identity| lines_of.get(&identity).copied());
        match look.step(&store, line, options, earlier) {
            Ok(step) => {
                lines_of.insert(step.domain.identity, line.number);
                steps.push(step);
            }
            Err(failure) => objections.push(Objection { line: line.number, failure }),
        }
    }
    if !objections.is_empty() {
        return Err(objections);
    }
    steps.sort_by_key(|step| Some(step.plan.target) > step.plan.old.target);
    Ok(steps)
}

/// What is there of the domain of a line, read without a lock: for a look ahead, never for writing.
struct Look {
    domain: Option<Domain>,
    read: Result<(DomainInfo, Stored), Cause>,
}

/// Looks at the domains of all `lines`: at the hypervisor's once, and at all their nodes together.
fn look<H: Host>(host: &H, store: &H::Store, lines: &[Line]) -> Result<Vec<Look>, Cause> {
    let census = Census::take(store, host.hypervisor(), lines.iter().map(|line| &line.domain))?;
    let found: Vec<_> = lines.iter().map(|line| census.find(&line.domain)).collect();
    let identities: Vec<Identity> =
        found.iter().flatten().map(|(domain, _)| domain.identity).collect();
    let mut stored = read_many(store, &identities).into_iter();
    let look = |found: Result<(Domain, DomainInfo), ResolveError>| match found {
        Ok((domain, info)) => {
            let read = stored.next().map_or(Err(Cause::Gone), |stored| Ok((info, stored?)));
            Look { domain: Some(domain), read }
        }
        Err(error) => Look { domain: None, read: Err(error.into()) },
    };
    Ok(found.into_iter().map(look).collect())
}

impl Look {
    /// What `line` comes to. `earlier` is the line that names the same domain.
    fn step(
        self,
        store: &impl Batch,
        line: &Line,
        options: Options,
        earlier: Option<usize>,
    ) -> Result<Step, Failure> {
        let Self { mut domain, read } = self;
        let Options { raise_max, force, .. } = options;
        let wish = Wish::Set { size: line.size, raise_max, force };
        let planned = read.and_then(|(info, stored)| {
            let nodes = Nodes::of(info.identity);
            let plan = believed(&nodes, store, &Reading::of(info, &stored), &wish);
            if let Some(domain) = &mut domain {
                domain.name = stored.name;
            }
            Ok((info, plan?))
        });
        let twice = |planned| match earlier {
            Some(earlier) => Err(Cause::Twice { earlier }),
            None => Ok(planned),
        };
        let failed = |domain, cause| Failure { domain, cause, after: After::Unchanged };
        match (planned.and_then(twice), domain) {
            (Ok((info, mut plan)), Some(domain)) => {
                if line.listed && Some(plan.target) == plan.old.target {
                    plan.leave_alone();
                }
                let (line, listed) = (line.number, line.listed);
                Ok(Step { line, domain, info, plan, wish, listed })
            }
            (Ok(_), None) => Err(failed(None, Cause::Gone)),
            (Err(cause), domain) => Err(failed(domain, cause)),
        }
    }
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
    let mut memory = Memory::new(host, options.patience);
    let mut series = Series::new(host);
    for step in steps {
        if step.leave_alone() {
            told(step, Ok(step.outlook()));
            continue;
        }
        let result = memory.wait_for(step, signals).and_then(|takes| {
            let request = Request {
                domain: DomainRef::Same(step.domain.identity),
                wish: step.wish,
                dry_run: false,
                lock_timeout: options.lock_timeout,
            };
            let outcome = series.change(&request, signals)?;
            memory.promise(step, takes);
            Ok(outcome)
        });
        told(step, result);
    }
}
