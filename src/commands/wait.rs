//! `--wait`: what follows a change until its guest has followed.

use std::time::Duration;

use xmem::balloon::{Clock, News, Patience, is_there, wait};
use xmem::change::{Outcome, nudge};
use xmem::error::{After, Exit, Failure, chain};
use xmem::host::Host;
use xmem::signals::Signals;

use super::change::{duration, record};
use crate::cli::Wait;
use crate::report::{Nudge, Report, Usage};

/// How the guests are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    patience: Patience,
    lock_timeout: Duration,
    /// Whether a driver is woken up that has given up the target which is asked for again.
    wakes: bool,
}

/// What `--wait` and `--patience` ask for.
pub(super) fn waiting(
    typed: &Wait,
    patience: &str,
    lock_timeout: Duration,
    wakes: bool,
) -> Result<Option<Waiting>, Usage> {
    let still = duration("patience", patience)?;
    let Some(at_most) = &typed.wait else { return Ok(None) };
    let at_most = at_most.as_deref().map(|time| duration("wait", time)).transpose()?;
    Ok(Some(Waiting { patience: Patience { still, at_most }, lock_timeout, wakes }))
}

/// Waits for the guests of `outcomes`, and reports each as its wait ends. What comes back is an exit for
/// each, in the order of `outcomes`.
pub(super) fn run<H: Host>(
    host: &H,
    outcomes: &[Outcome],
    waiting: Waiting,
    signals: &mut Signals,
    report: &Report,
) -> anyhow::Result<Vec<Exit>> {
    let mut exits = vec![Exit::Done; outcomes.len()];
    let mut awake = Vec::with_capacity(outcomes.len());
    for (outcome, exit) in outcomes.iter().zip(&mut exits) {
        match woken(host, outcome, waiting, signals) {
            Ok(nudge) => awake.push((outcome, nudge, exit)),
            Err(failure) => *exit = report.failure(&failure)?,
        }
    }
    let guests: Vec<&Outcome> = awake.iter().map(|(outcome, ..)| *outcome).collect();
    let hold = signals.hold_off()?;
    let mut show = report.progress(&guests, awake.iter().map(|(_, nudge, _)| *nudge));
    let mut trouble = None;
    {
        let _stoppable = hold.let_stop()?;
        wait(host, &guests, waiting.patience, &mut Clock::start(hold), &mut |place, news| {
            let Some((outcome, nudge, exit)) = awake.get_mut(place) else { return };
            match news {
                News::Moves(progress) => show.news(place, &progress),
                News::Ends(waited) => {
                    **exit = waited.exit();
                    let told = show.over(place, || report.waited(outcome, *nudge, &waited));
                    trouble = trouble.take().or_else(|| told.err());
                }
            }
        });
    }
    trouble.map_or(Ok(exits), Err)
}

/// Wakes the driver up if there was nothing to change for it, and it is not there.
fn woken<H: Host>(
    host: &H,
    outcome: &Outcome,
    waiting: Waiting,
    signals: &mut Signals,
) -> Result<Nudge, Failure> {
    let plan = &outcome.plan;
    if !waiting.wakes
        || plan.old.target != Some(plan.target)
        || is_there(outcome.info.current, plan.wanted)
    {
        return Ok(Nudge::NotNeeded);
    }
    match nudge(host, outcome, waiting.lock_timeout, signals) {
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
