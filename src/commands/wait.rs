//! `--wait`: what follows a change until its guest has followed.

use xmem::balloon::{Clock, Patience, Progress, is_there, wait};
use xmem::change::{Outcome, Request, nudge};
use xmem::error::{After, Exit, Failure, chain};
use xmem::host::Host;
use xmem::plan::Wish;
use xmem::signals::Signals;

use super::change::{duration, record};
use crate::cli::Change;
use crate::report::{Nudge, Report, Usage};

/// What `--wait` and `--patience` ask for.
pub(super) fn patience(typed: &Change) -> Result<Option<Patience>, Usage> {
    let Some(at_most) = &typed.wait else { return Ok(None) };
    Ok(Some(Patience {
        still: duration("patience", &typed.patience)?,
        at_most: at_most.as_deref().map(|time| duration("wait", time)).transpose()?,
    }))
}

/// Waits for the guest of `outcome`, and reports all.
pub(super) fn run<H: Host>(
    host: &H,
    request: &Request,
    outcome: &Outcome,
    patience: Patience,
    signals: &mut Signals,
    report: &Report,
) -> anyhow::Result<Exit> {
    report.before_wait(outcome)?;
    let nudge = match woken(host, request, outcome, signals) {
        Ok(nudge) => nudge,
        Err(failure) => return report.failure(&failure),
    };
    let hold = signals.hold_off()?;
    let mut show = report.progress(outcome, nudge);
    let waited = {
        let _stoppable = hold.let_stop()?;
        let mut news = |progress: &Progress| show.news(progress);
        wait(host, outcome, patience, &mut Clock::start(hold), &mut news)
    };
    show.end();
    report.waited(outcome, nudge, &waited)
}

/// Wakes the driver up if there was nothing to change for it, and it is not there.
fn woken<H: Host>(
    host: &H,
    request: &Request,
    outcome: &Outcome,
    signals: &mut Signals,
) -> Result<Nudge, Failure> {
    let plan = &outcome.plan;
    if !matches!(request.wish, Wish::Set { .. })
        || plan.old.target != Some(plan.target)
        || is_there(outcome.info.current, plan.wanted)
    {
        return Ok(Nudge::NotNeeded);
    }
    match nudge(host, outcome, request.lock_timeout, signals) {
        Ok(changes) => {
            let nudge = if changes.is_empty() { Nudge::NotNeeded } else { Nudge::Done };
            for change in changes {
                record(host, &Ok(change));
            }
            Ok(nudge)
        }
        // All is as it was: then it is waited without.
        Err(failure) if matches!(failure.after, After::Unchanged | After::PutBack { .. }) => {
            tracing::warn!(domain = %outcome.domain, error = %chain(&failure.cause), "no nudge");
            Ok(Nudge::Failed)
        }
        Err(failure) => {
            let result = Err(failure);
            record(host, &result);
            result.map(|_| Nudge::Failed)
        }
    }
}
