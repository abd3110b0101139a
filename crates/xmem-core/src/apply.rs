//! Many changes in one run: planned as a whole, then made one by one, shrinking before growing.

mod ledger;
mod planning;

use std::time::Duration;

use xen::{Host, Interrupt, Kib};

use self::ledger::{Grant, Ledger};
use self::planning::ignored_limit;
pub use self::planning::plan_all;
use crate::batch::LineProblem;
use crate::change::{ChangeRequest, ChangeSession, ChangeStatus, KeepFree, Outcome};
use crate::domain::{Domain, DomainRef};
use crate::failure::{Cause, Failure};
use crate::memory::Memory;
use crate::plan::{MemoryRequest, Note, Plan, TOLERANCE};
use crate::recovery::Recovery;
use crate::size::{Amount, Size};
use crate::state::{Follows, State};

/// The options of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions {
    /// Raise a domain's maximum if its size is above it.
    pub raise_max: bool,
    /// Override the safety rules that can be overridden.
    pub force: bool,
    /// Memory of the host that must stay free, over the whole batch.
    pub keep_free: Option<Kib>,
    /// If the host does not have enough for all, serve the lines in order until the memory is used up.
    pub partial: bool,
    /// How long to wait for each lock.
    pub lock_timeout: Duration,
    /// Give up on a change that needs memory after this long without more becoming available to it.
    pub patience: Duration,
}

/// A change that was planned.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line that requests it.
    pub line: usize,
    /// The domain.
    pub domain: Domain,
    /// Its plan, if the host has the memory.
    pub plan: Plan,
    state: State,
    memory: Memory,
    request: MemoryRequest,
    /// The limit that the line lists.
    listed_limit: Option<Kib>,
    /// Its plan with the memory that the host is expected to have.
    foreseen: Plan,
    /// The memory that the host will lack for it.
    shortage: Option<Shortage>,
    /// Whether the line is JSON and its target or size is the present one: the list was not edited there. The domain's
    /// limit is left as it is, and its driver is not nudged.
    is_left_alone: bool,
}

/// Memory that a step needs and the host will not have in full.
#[derive(Clone, Copy, Debug)]
struct Shortage {
    needs: Kib,
    free: Kib,
    keep_free: Kib,
    granted: Kib,
}

impl Step {
    /// The expected plan, for a dry run. Its notes include what the host will lack or have left once each domain that
    /// shrinks has given back its memory. It includes the change that a killed run left unfinished.
    ///
    /// # Errors
    /// The host will not have the memory; the record of that change cannot be read.
    pub fn preview(&self, host: &dyn Host) -> Result<Outcome, Failure> {
        if let Some(Shortage { needs, free, keep_free, granted }) = self.shortage {
            let cause = Cause::NoMemory { needs, free, keep_free, granted };
            return Err(Failure::unchanged(Some(self.domain.clone()), cause));
        }
        let recovery = Recovery::pending(host.state_dir(), self.domain.identity)
            .map_err(|error| Failure::unchanged(Some(self.domain.clone()), error))?;
        let outcome = self.outcome(self.foreseen.clone(), ChangeStatus::DryRun);
        Ok(Outcome { recovery, ..outcome })
    }

    /// An outcome without a change.
    fn outcome(&self, plan: Plan, status: ChangeStatus) -> Outcome {
        let (domain, info) = (self.domain.clone(), self.memory.info);
        let (state, first_limit) = (self.state, info.limit);
        Outcome { domain, state, info, plan, status, recovery: None, first_limit }
    }

    /// Whether its target is raised.
    fn grows(&self) -> bool {
        self.plan.new.target > self.plan.old.target
    }

    /// Memory that the domain takes from the host if it holds `held`. As for `set`, growth within [`TOLERANCE`] is none.
    fn needs(&self, held: Kib) -> Kib {
        let needs = self.plan.wanted.minus(held).filter(|needs| *needs > TOLERANCE);
        needs.unwrap_or_default()
    }

    /// Memory that the domain is taking before the change, to reach its old target.
    fn takes_already(&self) -> Kib {
        let takes = self.plan.old_size().minus(self.memory.info.current);
        takes
            .filter(|takes| *takes > TOLERANCE && self.is_ballooning() && !self.is_left_alone)
            .unwrap_or_default()
    }

    /// Whether its guest follows the target now.
    fn is_ballooning(&self) -> bool {
        self.state.follows() == Follows::Now
    }

    /// The request and the note for a domain that can hold no more than `room`. `None` if it has nearly that much already.
    fn partial(&self, room: Kib, options: &ApplyOptions) -> (Option<MemoryRequest>, Note) {
        // In whole MiB: a size of 1031244 KiB would only look odd.
        let size = Kib::from_mib(room.mib());
        let present = self.plan.old_size();
        // A single MiB is of no use to a guest, and may raise its maximum.
        let is_more = size.minus(present).is_some_and(|more| more > TOLERANCE);
        let got = if is_more { size } else { present };
        let ApplyOptions { raise_max, force, .. } = *options;
        let request = is_more.then_some(MemoryRequest::Set {
            size: Size::exact(Amount::To(size)),
            raise_max,
            force,
        });
        (request, Note::Partial { asked: self.plan.wanted, got })
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
    /// It is invalid.
    Line(LineProblem),
    /// Its change would fail.
    Change(Failure),
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
            Ok(step.outcome(step.plan.clone(), ChangeStatus::LeftAlone))
        } else {
            make(step, options, &mut ledger, &mut session, interrupt)
        };
        on_result(step, result);
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
        domain: DomainRef::Same(step.domain.clone()),
        memory: step.request,
        // The ledger has counted what other domains were granted.
        keep_free: options.keep_free.map(|size| KeepFree { size, counts_granted: false }),
        dry_run: false,
        lock_timeout: options.lock_timeout,
    };
    let mut note = None;
    if let Grant::Part(room) = grant {
        let (partial, got) = step.partial(room, options);
        let Some(partial) = partial else {
            let mut plan = step.plan.clone();
            plan.leave_alone();
            plan.notes.push(got);
            plan.notes.extend(ignored_limit(step.listed_limit, &plan));
            return Ok(step.outcome(plan, ChangeStatus::Unchanged));
        };
        request.memory = partial;
        note = Some(got);
    }
    let mut outcome = session.change(&request, interrupt)?;
    ledger.promise(step.domain.identity, outcome.info.current, outcome.plan.wanted);
    outcome.plan.notes.extend(note);
    outcome.plan.notes.extend(ignored_limit(step.listed_limit, &outcome.plan));
    Ok(outcome)
}
