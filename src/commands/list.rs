//! `xmem list`.

use xmem::domain::{DomainRef, Wanted};
use xmem::error::{After, Exit, Failure};
use xmem::host::Host;
use xmem::overview::{Overview, overview};

use super::change::domain;
use crate::cli::{Format, List, SortBy};
use crate::report::{Report, Usage};

/// What was asked for.
pub(super) struct Asked {
    /// None means all.
    wanted: Vec<DomainRef>,
    sort: SortBy,
    format: Format,
}

/// Makes sense of what was typed.
pub(super) fn asked(typed: &List) -> Result<Asked, Usage> {
    let wanted = typed.domains.iter().map(|text| domain(text)).collect::<Result<_, _>>()?;
    Ok(Asked { wanted, sort: typed.sort, format: typed.format })
}

/// Looks and tells. A domain that is not there does not keep the others from being told.
pub(super) fn run<H: Host>(host: &H, asked: &Asked, report: &Report) -> anyhow::Result<Exit> {
    let wanted = Wanted::by(&asked.wanted);
    let mut seen = match overview(host) {
        Ok(seen) => seen,
        Err(cause) => {
            return report.failure(&Failure { domain: None, cause, after: After::ReadOnly });
        }
    };
    let missing = wanted.missing(seen.rows.iter().map(|row| &row.domain));
    seen.rows.retain(|row| wanted.has(&row.domain));
    sort(&mut seen, asked.sort);
    match asked.format {
        Format::Table => report.overview(&seen)?,
        Format::Openmetrics => report.metrics(&seen),
    }
    for wanted in &missing {
        report.missing(wanted)?;
    }
    Ok(match (missing.is_empty(), seen.rows.is_empty()) {
        (true, _) => Exit::Done,
        (false, true) => Exit::NoDomain,
        (false, false) => Exit::SomeFailed,
    })
}

/// Largest first for sizes; equal ones stay in the order of their domids.
fn sort(seen: &mut Overview, by: SortBy) {
    use std::cmp::Reverse;
    let rows = &mut seen.rows;
    match by {
        SortBy::Id => rows.sort_by_key(|row| row.domain.identity.domid),
        SortBy::Name => rows.sort_by(|one, other| one.domain.name.cmp(&other.domain.name)),
        SortBy::Current => rows.sort_by_key(|row| Reverse(row.info.current)),
        SortBy::Target => rows.sort_by_key(|row| Reverse(row.target)),
        SortBy::Limit => rows.sort_by_key(|row| Reverse(row.info.limit)),
        SortBy::Max => rows.sort_by_key(|row| Reverse(row.static_max)),
    }
}
