//! `xmem reclaim`.

use xen::Host;
use xmem_core::reclaim::{
    DonorSelection, Priority, ReclaimError, ReclaimEvent, ReclaimRequest, plan_reclaim, reclaim,
};
use xmem_core::wait::{WaitEnd, WaitEvent};

use super::record;
use super::wait::patience_of;
use crate::cli::{self, Global, Reclaim};
use crate::exit::Exit;
use crate::report::{FailedChanges, ProgressView, Report};
use crate::signals::Signals;
use crate::usage::Usage;
use crate::values;

/// The word for every domU in `--from`.
const ALL: &str = "all";

/// A reclaim.
pub(super) struct Task {
    request: ReclaimRequest,
    dry_run: bool,
}

impl Task {
    pub(super) fn of(args: &Reclaim, global: &Global) -> Result<Self, Usage> {
        let from = match &args.from[..] {
            [all] if all == ALL => DonorSelection::All,
            names if names.iter().any(|name| name == ALL) => {
                return Err(Usage {
                    what: "--from".to_owned(),
                    text: ALL.to_owned(),
                    why: "it stands alone, without other domains".to_owned(),
                    hint: Some(format!("a domain of that name is name:{ALL}")),
                });
            }
            names => DonorSelection::Named(values::domains(names)?),
        };
        let (mut floor, mut floors) = (Vec::new(), Vec::new());
        for text in &args.floor {
            // A name may contain `=`, but a size does not.
            match text.rsplit_once('=') {
                Some((domain, size)) => {
                    let of_floor = |usage| Usage { what: "--floor".to_owned(), ..usage };
                    let domain = values::domain(domain).map_err(of_floor)?;
                    floors.push((domain, values::floor(size)?));
                }
                None => floor.push(values::floor(text)?),
            }
        }
        let request = ReclaimRequest {
            size: values::amount("SIZE", &args.size)?,
            keep_free: values::keep_free(args.keep_free.as_deref())?,
            from,
            floor,
            floors,
            priority: match args.priority {
                Some(cli::Priority::Order) => Priority::Order,
                Some(cli::Priority::Even) | None => Priority::Even,
            },
            patience: patience_of(args.patience.as_deref())?,
            lock_timeout: values::lock_timeout(global.lock_timeout.as_deref())?,
            or_restore: args.or_restore,
        };
        Ok(Self { request, dry_run: args.dry_run })
    }

    pub(super) const fn changes(&self) -> bool {
        !self.dry_run
    }

    /// Plans, shrinks, waits, and reports. Signals are held off until the result is reported.
    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        let signals = if self.dry_run { Signals::free(report) } else { Signals::held(report)? };
        let plan = match plan_reclaim(host, &self.request) {
            Ok(plan) => plan,
            Err(ReclaimError::Failures(failures)) => {
                let exits = failures.iter().map(|failure| report.failure(failure, None));
                return Ok(Exit::of_all(&exits.collect::<Vec<_>>()));
            }
            Err(error) => {
                let why = error.to_string();
                return Ok(report.usage(&Usage { why, ..Usage::default() }, None));
            }
        };
        if self.dry_run {
            return Ok(report.reclaim_plan(&plan, &self.request));
        }
        let mut view = ProgressView::new(report);
        let mut failed = FailedChanges::default();
        let done = reclaim(host, plan, &self.request, &signals, &mut |event| match event {
            ReclaimEvent::Planned(plan) => report.reclaim_planned(&plan),
            ReclaimEvent::Changed(index, outcome) => {
                record(report, Ok(&outcome));
                report.lowered(&outcome);
                view.add(index, &outcome);
            }
            ReclaimEvent::NotChanged(_, failure) | ReclaimEvent::Restored(_, Err(failure)) => {
                record(report, Err(&failure));
                failed.add(failure.cause.kind(), report.failure(&failure, None));
            }
            ReclaimEvent::Restored(_, Ok(outcome)) => {
                record(report, Ok(&outcome));
                report.restored(&outcome);
            }
            ReclaimEvent::Wait(index, event) => match event {
                WaitEvent::Nudged(changes) => {
                    for change in &changes {
                        record(report, Ok(change));
                    }
                }
                WaitEvent::NotNudged(failure) => {
                    record(report, Err(&failure));
                    if let Some(domain) = &failure.domain {
                        report.not_nudged(domain, &failure);
                    }
                }
                WaitEvent::Progress(progress) => view.update(index, &progress),
                WaitEvent::Ended(ended) => {
                    if let WaitEnd::Failed(failure) = &ended.end {
                        record(report, Err(failure));
                        failed.add(failure.cause.kind(), Exit::from(&**failure));
                    }
                    view.end(index);
                    report.gave(view.domain(index), &ended);
                }
                _ => {}
            },
            _ => {}
        });
        drop(view);
        Ok(report.reclaimed(&done, &failed, &self.request))
    }
}
