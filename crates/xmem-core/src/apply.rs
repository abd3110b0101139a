//! Many changes in one run: planned as a whole, then made one by one, shrinking before growing.

mod ledger;
mod planning;

use std::time::Duration;

use xen::hypervisor::DomainInfo;
use xen::{Host, Interrupt, Kib};

use self::ledger::{Grant, Ledger};
use crate::batch::{Batch, LineProblem};
use crate::change::{ChangeRequest, ChangeSession, ChangeStatus, Outcome};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::plan::{MemoryRequest, Note, Plan};
use crate::resolve::ResolveError;
use crate::size::{Amount, Size};
use crate::state::{Follows, State};

/// How all changes of a run are made.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions {
    /// Raise a domain's maximum if its size is above it.
    pub raise_max: bool,
    /// Do what a safety rule would refuse.
    pub force: bool,
    /// Memory of the host that must stay free, over the whole batch.
    pub keep_free: Option<Kib>,
    /// When the host does not have enough for all, give the first lines theirs, and the next what is left.
    pub partial: bool,
    /// How long to wait for each lock.
    pub lock_timeout: Duration,
    /// Give up on a change that needs memory after this long without more becoming available to it.
    pub patience: Duration,
}

/// A change that was planned.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line that asks for it.
    pub line: usize,
    /// The domain.
    pub domain: Domain,
    /// What it was doing.
    pub state: State,
    /// The hypervisor's part of its memory.
    pub info: DomainInfo,
    /// What it would come to.
    pub plan: Plan,
    request: MemoryRequest,
    is_left_alone: bool,
}

impl Step {
    /// What it would come to, for a dry run.
    pub fn preview(&self) -> Outcome {
        let is_unchanged = self.plan.changes_nothing();
        Outcome {
            domain: self.domain.clone(),
            state: self.state,
            info: self.info,
            plan: self.plan.clone(),
            status: if is_unchanged { ChangeStatus::Unchanged } else { ChangeStatus::DryRun },
            recovery: None,
        }
    }

    /// Whether the line is JSON and its target is the present one: the list was not edited there. The domain's limit is
    /// left as it is, and its guest is not waited for.
    pub const fn is_left_alone(&self) -> bool {
        self.is_left_alone
    }

    /// Whether its target is raised.
    fn grows(&self) -> bool {
        self.plan.new.target > self.plan.old.target
    }

    /// Memory that the domain takes from the host when it holds `held`.
    fn needs(&self, held: Kib) -> Kib {
        self.plan.wanted.minus(held).unwrap_or_default()
    }

    /// Whether the domain gives back memory that it holds above its target.
    fn can_give(&self) -> bool {
        self.state.follows() == Follows::Now
    }

    /// A failure of this step, with the domain as it was resolved.
    fn failed(&self, failure: Failure) -> Failure {
        let domain = Some(failure.domain.unwrap_or_else(|| self.domain.clone()));
        let cause = match failure.cause {
            Cause::Resolve(ResolveError::NoSuchDomain { .. }) => Cause::Gone,
            cause => cause,
        };
        Failure { domain, cause, ..failure }
    }
}

/// A line that cannot be carried out.
#[derive(Debug)]
pub struct LineFailure {
    /// The line; `None` is the batch as a whole.
    pub line: Option<usize>,
    /// The reason.
    pub reason: LineFailureReason,
}

/// Why a line cannot be carried out.
#[derive(Debug)]
pub enum LineFailureReason {
    /// It makes no sense.
    Line(LineProblem),
    /// Its change would fail.
    Change(Failure),
}

/// Plans every line before anything is changed, and puts those that shrink a domain before those that grow one.
///
/// # Errors
/// Every line that cannot be carried out, in their order: those that make no sense, that contradict the host or each
/// other, and that are refused.
pub fn plan_all(
    host: &dyn Host,
    batch: &Batch,
    options: &ApplyOptions,
) -> Result<Vec<Step>, Vec<LineFailure>> {
    planning::plan_all(host, batch, options)
}

/// Makes the changes, and reports each as it is made. One failure does not stop the others; an interrupt does.
pub fn apply(
    host: &dyn Host,
    steps: &[Step],
    options: &ApplyOptions,
    interrupt: &dyn Interrupt,
    on_result: &mut dyn FnMut(&Step, Result<Outcome, Failure>),
) {
    let mut ledger = Ledger::new(host, options);
    let mut session = ChangeSession::new(host);
    for step in steps {
        let result = if step.is_left_alone {
            Ok(step.preview())
        } else {
            make(step, options, &mut ledger, &mut session, interrupt)
        };
        on_result(step, result.map_err(|failure| step.failed(failure)));
    }
}

/// Makes the change of `step` when there is memory for it.
fn make(
    step: &Step,
    options: &ApplyOptions,
    ledger: &mut Ledger<'_>,
    session: &mut ChangeSession<'_>,
    interrupt: &dyn Interrupt,
) -> Result<Outcome, Failure> {
    let grant = ledger
        .wait_for(step, interrupt)
        .map_err(|cause| Failure::unchanged(Some(step.domain.clone()), cause))?;
    let mut request = ChangeRequest {
        domain: DomainRef::Same(step.domain.identity),
        memory: step.request,
        keep_free: options.keep_free,
        dry_run: false,
        lock_timeout: options.lock_timeout,
    };
    let partial = match grant {
        Grant::Whole => None,
        Grant::Part(size) => {
            // Whole MiB: nobody wants a size of 1031244 KiB.
            let size = Kib::from_mib(size.mib());
            let present = step.plan.old_size();
            let partial = Note::Partial { asked: step.plan.wanted, got: size.max(present) };
            if size <= present {
                let mut outcome = step.preview();
                outcome.plan.leave_alone();
                outcome.plan.notes.push(partial);
                outcome.status = ChangeStatus::Unchanged;
                return Ok(outcome);
            }
            let size = Size::exact(Amount::To(size));
            let ApplyOptions { raise_max, force, .. } = *options;
            request.memory = MemoryRequest::Set { size, raise_max, force };
            Some(partial)
        }
    };
    let mut outcome = session.change(&request, interrupt)?;
    ledger.promise(step.domain.identity, outcome.info.current, outcome.plan.wanted);
    outcome.plan.notes.extend(partial);
    Ok(outcome)
}
