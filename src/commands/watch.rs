//! `xmem watch`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xmem::domain::{DomId, DomainRef, Wanted};
use xmem::error::{After, Cause, Exit, Failure};
use xmem::host::Host;
use xmem::overview::{Overview, look};
use xmem::xenstore::Watching as _;

use super::change::{domain, duration};
use crate::cli::Watch;
use crate::report::{Report, Usage, Watched};

/// What was asked for.
pub(super) struct Asked {
    wanted: Vec<DomainRef>,
    interval: Duration,
    looks: Option<u64>,
}

/// Makes sense of what was typed.
pub(super) fn asked(typed: &Watch) -> Result<Asked, Usage> {
    let interval = duration("interval", &typed.interval)?;
    if interval < SHORTEST {
        return Err(Usage {
            what: "interval",
            text: typed.interval.clone(),
            why: "it is less than 50 ms".to_owned(),
            hint: "an interval looks like 1s or 250ms".to_owned(),
        });
    }
    let wanted = typed.domains.iter().map(|text| domain(text)).collect::<Result<_, _>>()?;
    Ok(Asked { wanted, interval, looks: typed.count })
}

/// Looking more often than this would be load without a use.
const SHORTEST: Duration = Duration::from_millis(50);

/// Looks at once when a target changes, and from time to time for what xenstore does not tell: what
/// the domains hold. Ends with the reader, with xenstored, or after as many looks as were asked for.
pub(super) fn run<H: Host>(host: &H, asked: &Asked, report: &Report) -> anyhow::Result<Exit> {
    match watch(host, asked, report) {
        Ok(exit) => Ok(exit?),
        Err(cause) => report.failure(&Failure { domain: None, cause, after: After::ReadOnly }),
    }
}

fn watch<H: Host>(host: &H, asked: &Asked, report: &Report) -> Result<anyhow::Result<Exit>, Cause> {
    let store = host.connect()?;
    let wanted = Wanted::by(&asked.wanted);
    let mut watched = Watched::new();
    let mut asked_for = Watches::default();
    let mut looks = 0_u64;
    loop {
        let begun = Instant::now();
        asked_for.keep::<H>(&store)?;
        let mut seen = look(host, &store)?;
        if looks == 0 {
            let missing = wanted.missing(seen.rows.iter().map(|row| &row.domain));
            if let Some(first) = missing.first() {
                return Ok(report.missing(first).map(|()| Exit::NoDomain));
            }
        }
        seen.rows.retain(|row| wanted.has(&row.domain));
        asked_for.domids = domids(&seen);
        match report.watched(&mut watched, &seen) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(Exit::Done)),
            Err(error) => return Ok(Err(error)),
        }
        looks = looks.saturating_add(1);
        if asked.looks.is_some_and(|most| looks >= most) {
            return Ok(Ok(Exit::Done));
        }
        // A burst of changes is one reason to look, not many.
        store.wait(asked.interval)?;
        std::thread::sleep(SHORTEST.saturating_sub(begun.elapsed()));
    }
}

fn domids(seen: &Overview) -> Vec<DomId> {
    seen.rows.iter().map(|row| row.domain.identity.domid).collect()
}

/// The watches that are set so far.
#[derive(Default)]
struct Watches {
    set: BTreeSet<String>,
    domids: Vec<DomId>,
}

impl Watches {
    /// Sets what is missing: one for each domain's target, and for domains that come and go.
    fn keep<H: Host>(&mut self, store: &H::Store) -> Result<(), Cause> {
        let special = ["@introduceDomain", "@releaseDomain"].map(str::to_owned);
        let targets = self.domids.iter().map(|id| format!("/local/domain/{id}/memory/target"));
        for path in special.into_iter().chain(targets) {
            if !self.set.contains(&path) {
                store.watch(&path)?;
                self.set.insert(path);
            }
        }
        Ok(())
    }
}
