//! `xmem set` and `xmem max`.

use std::path::Path;
use std::time::Duration;

use xmem::audit;
use xmem::change::{Request, change};
use xmem::domain::DomainRef;
use xmem::error::Exit;
use xmem::host::Host;
use xmem::plan::Wish;
use xmem::signals::Signals;
use xmem::size::Size;

use crate::cli::{Change, Max, Set};
use crate::report::{Report, Usage};

/// Longer than anybody waits; keeps a clock from running over.
const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What `xmem set` asks for.
pub(super) fn set(typed: &Set) -> Result<Request, Usage> {
    let wish = Wish::Set {
        size: size(&typed.change.size)?,
        raise_max: typed.raise_max,
        force: typed.force,
    };
    request(&typed.change, wish)
}

/// What `xmem max` asks for.
pub(super) fn max(typed: &Max) -> Result<Request, Usage> {
    request(&typed.change, Wish::Max { size: size(&typed.change.size)? })
}

/// Changes, logs and reports. Signals wait until the result has been told.
pub(super) fn run<H: Host>(host: &H, request: &Request, report: &Report) -> anyhow::Result<Exit> {
    let mut signals = Signals::default();
    let result = change(host, request, &mut signals);
    if !host.simulated() {
        audit::record(&result, Path::new(audit::SOCKET));
    }
    match result {
        Ok(outcome) => report.outcome(&outcome),
        Err(failure) => report.failure(&failure),
    }
}

fn request(typed: &Change, wish: Wish) -> Result<Request, Usage> {
    Ok(Request {
        domain: domain(&typed.domain)?,
        wish,
        dry_run: typed.dry_run,
        lock_timeout: duration("lock timeout", &typed.lock_timeout)?,
    })
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
