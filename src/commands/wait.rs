//! `--wait`: waits after a change until its guest has reached the target.

use std::collections::BTreeMap;
use std::time::Duration;

use xen::{Host, Kib};
use xmem_core::change::Outcome;
use xmem_core::plan::TOLERANCE;
use xmem_core::wait::{WaitEnd, WaitEvent, WaitPolicy, wait};

use super::record;
use crate::cli::Wait;
use crate::exit::Exit;
use crate::report::{ProgressView, Report};
use crate::signals::Signals;
use crate::usage::Usage;
use crate::values;

/// The default of `--patience`.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How guests are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting(WaitPolicy);

impl Waiting {
    /// The policy that `--wait`, `--within` and `--patience` ask for.
    pub(super) fn of(
        args: &Wait,
        patience: Option<&str>,
        lock_timeout: Duration,
    ) -> Result<Option<Self>, Usage> {
        let Some(at_most) = &args.wait else { return Ok(None) };
        let patience = patience_of(patience)?;
        let at_most = at_most
            .as_deref()
            .map(|time| values::time_or("--wait", Some(time), Duration::ZERO))
            .transpose()?;
        let within = args.within.as_deref().map(distance).transpose()?.unwrap_or(TOLERANCE);
        Ok(Some(Self(WaitPolicy { patience, at_most, within, lock_timeout })))
    }
}

/// How long to wait for a guest without progress.
pub(super) fn patience_of(typed: Option<&str>) -> Result<Duration, Usage> {
    match values::time_or("--patience", typed, PATIENCE)? {
        Duration::ZERO => Err(Usage {
            what: "--patience".to_owned(),
            text: typed.map(values::unmark).unwrap_or_default(),
            why: "no guest makes progress within no time".to_owned(),
            hint: Some("give it several seconds, such as 30s".to_owned()),
        }),
        patience => Ok(patience),
    }
}

/// The distance from its target within which a guest has reached it.
fn distance(text: &str) -> Result<Kib, Usage> {
    let distance = values::amount("--within", text)?;
    if distance >= TOLERANCE {
        return Ok(distance);
    }
    Err(Usage {
        what: "--within".to_owned(),
        text: values::unmark(text),
        why: "less than 1 MiB, within which every guest counts as having reached its target"
            .to_owned(),
        hint: Some("leave out --within, or give 1M or more".to_owned()),
    })
}

/// Waits for the guests of `changes` (line and outcome), and reports each as its wait ends. Returns their exit codes.
pub(super) fn run(
    host: &dyn Host,
    changes: &[(Option<usize>, Outcome)],
    waiting: Waiting,
    signals: &Signals<'_>,
    report: &Report,
) -> Vec<Exit> {
    let mut exits = vec![Exit::Done; changes.len()];
    let outcomes: Vec<&Outcome> = changes.iter().map(|(_, outcome)| outcome).collect();
    let mut view = ProgressView::new(report);
    for (index, outcome) in outcomes.iter().enumerate() {
        view.add(index, outcome);
    }
    let mut not_nudged = BTreeMap::new();
    wait(host, &outcomes, waiting.0, signals, &mut |index, event| {
        let Some((line, outcome)) = changes.get(index) else { return };
        match event {
            WaitEvent::Nudged(changes) => {
                for change in &changes {
                    record(report, Ok(change));
                }
                report.nudged(&outcome.domain);
            }
            WaitEvent::NotNudged(failure) => {
                record(report, Err(&failure));
                report.not_nudged(&outcome.domain, &failure);
                not_nudged.insert(index, failure);
            }
            WaitEvent::Progress(progress) => view.update(index, &progress),
            WaitEvent::Ended(ended) => {
                if let WaitEnd::Failed(failure) = &ended.end {
                    record(report, Err(failure));
                }
                view.end(index);
                let exit = report.waited(outcome, *line, &ended, not_nudged.get(&index));
                if let Some(place) = exits.get_mut(index) {
                    *place = exit;
                }
            }
            _ => {}
        }
    });
    exits
}
