//! Many changes in one run: planned as a whole, then made one by one, shrinking before growing.

use std::time::Duration;

use xen::{Host, Interrupt, Kib};

use crate::batch::{Batch, LineProblem};
use crate::change::Outcome;
use crate::domain::Domain;
use crate::failure::Failure;
use crate::plan::Plan;

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
    /// What it would come to.
    pub plan: Plan,
}

impl Step {
    /// What it would come to, for a dry run.
    pub fn preview(&self) -> Outcome {
        todo!()
    }

    /// Whether the line asks for what is already so, and for nothing else: a JSON line whose target was not edited. Its
    /// limit is left as it is, and its guest is not waited for.
    pub fn is_left_alone(&self) -> bool {
        todo!()
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
    let _ = (host, batch, options);
    todo!()
}

/// Makes the changes, and reports each as it is made. One failure does not stop the others; an interrupt does.
pub fn apply(
    host: &dyn Host,
    steps: &[Step],
    options: &ApplyOptions,
    interrupt: &dyn Interrupt,
    on_result: &mut dyn FnMut(&Step, Result<Outcome, Failure>),
) {
    let _ = (host, steps, options, interrupt, on_result);
    todo!()
}
