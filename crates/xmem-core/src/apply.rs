//! Many changes in one run: planned as a whole, then made one by one, shrinking before growing.

use std::time::Duration;

use xen::{Host, Interrupt, Kib};

use crate::batch::Line;
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
    /// Memory of the host that must stay free.
    pub keep_free: Option<Kib>,
    /// When the host does not have enough for all, let the first lines have theirs.
    pub partial: bool,
    /// How long to wait for each lock.
    pub lock_timeout: Duration,
    /// How long to wait for memory while none comes.
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
}

/// A line that cannot be carried out.
#[derive(Debug)]
pub struct LineFailure {
    /// The line; `None` is the batch as a whole.
    pub line: Option<usize>,
    /// Why.
    pub failure: Failure,
}

/// Plans every line before anything is changed, and puts those that shrink a domain before those that grow one.
///
/// # Errors
/// Every line that cannot be carried out.
pub fn plan_all(
    host: &dyn Host,
    lines: &[Line],
    options: &ApplyOptions,
) -> Result<Vec<Step>, Vec<LineFailure>> {
    let _ = (host, lines, options);
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
