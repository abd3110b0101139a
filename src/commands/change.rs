//! `xmem set` and `xmem max`.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::Duration;

use xmem::audit;
use xmem::change::{Outcome, Request, Series};
use xmem::domain::DomainRef;
use xmem::error::{Exit, Failure};
use xmem::host::Host;
use xmem::plan::Wish;
use xmem::signals::Signals;
use xmem::size::Size;

use super::wait::{self, Waiting};
use crate::cli::{Change, Max, Set};
use crate::report::{Report, Usage};

/// Longer than anybody waits; keeps a clock from running over.
const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What was asked for.
pub(super) struct Asked {
    request: Request,
    /// How to wait for the guest then; not at all if that is none.
    waiting: Option<Waiting>,
}

impl Asked {
    pub(super) const fn only_looks(&self) -> bool {
        self.request.dry_run
    }
}

/// What `xmem set` asks for.
pub(super) fn set(typed: &Set) -> Result<Asked, Usage> {
    let wish = Wish::Set {
        size: size(&typed.change.size)?,
        raise_max: typed.raise_max,
        force: typed.force,
    };
    request(&typed.change, wish)
}

/// What `xmem max` asks for.
pub(super) fn max(typed: &Max) -> Result<Asked, Usage> {
    request(&typed.change, Wish::Max { size: size(&typed.change.size)? })
}

/// Changes, logs, waits if asked to, and reports. Signals wait until the result has been told.
pub(super) fn run<H: Host>(host: &H, asked: &Asked, report: &Report) -> anyhow::Result<Exit> {
    let mut signals = Signals::default();
    // Its connection goes with the process.
    let mut series = ManuallyDrop::new(Series::new(host));
    let result = series.change(&asked.request, &mut signals);
    record(host, &result);
    match (result, asked.waiting) {
        (Ok(outcome), Some(waiting)) => {
            // Which can take long.
            drop(ManuallyDrop::into_inner(series));
            report.before_wait(&outcome)?;
            let exits = wait::run(host, &[outcome], waiting, &mut signals, report)?;
            Ok(Exit::of_all(&exits))
        }
        (Ok(outcome), None) => report.outcome(&outcome),
        (Err(failure), _) => report.failure(&failure),
    }
}

/// Logs what was done to a real host.
pub(super) fn record<H: Host>(host: &H, result: &Result<Outcome, Failure>) {
    if !host.simulated() {
        audit::record(result, Path::new(audit::SOCKET));
    }
}

fn request(typed: &Change, wish: Wish) -> Result<Asked, Usage> {
    let lock_timeout = duration("lock timeout", &typed.lock_timeout)?;
    let sets = matches!(wish, Wish::Set { .. });
    let waiting = wait::waiting(&typed.wait, &typed.patience, lock_timeout, sets)?;
    let domain = domain(&typed.domain)?;
    let request = Request { domain, wish, dry_run: typed.dry_run, lock_timeout };
    Ok(Asked { request, waiting })
}

fn size(text: &str) -> Result<Size, Usage> {
    text.parse().map_err(|why: xmem::size::SizeError| Usage {
        what: "size",
        text: text.to_owned(),
        why: why.to_string(),
        hint: why.hint().to_owned(),
    })
}

/// A domain as it was typed.
pub(super) fn domain(text: &str) -> Result<DomainRef, Usage> {
    text.parse().map_err(|why: xmem::domain::DomainRefError| Usage {
        what: "domain",
        text: text.to_owned(),
        why: why.to_string(),
        hint: why.hint().to_owned(),
    })
}

/// A time with its unit; a bare number is seconds.
pub(super) fn duration(what: &'static str, text: &str) -> Result<Duration, Usage> {
    let bare = text.parse().ok().map(Duration::from_secs);
    bare.map_or_else(|| humantime::parse_duration(text), Ok)
        .map(|time| time.min(LONGEST_TIME))
        .map_err(|why| Usage {
            what,
            text: text.to_owned(),
            why: why.to_string(),
            hint: "a time looks like 10s, 2m or 500ms; a bare number is seconds".to_owned(),
        })
}
