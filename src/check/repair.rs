//! Mending what `xmem check` found, where only one thing can be meant by it.
//!
//! Owns the choice of who mends what. Never writes anything itself: a living domain is mended by a
//! [`change`](crate::change), and what is left of others by [`leftover`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Checked, Finding, Key, check};
use crate::change::{Outcome, Request, Series};
use crate::domain::{Domain, DomainRef, Identity};
use crate::error::{After, Cause, Failure};
use crate::host::Host;
use crate::intent::{Found, IntentFile, Numbers};
use crate::leftover;
use crate::overview::Row;
use crate::plan::{Wish, plan};
use crate::settle::{Earlier, settlement};
use crate::signals::Signals;

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Left,
    /// It would be mended.
    Would(Deed),
    /// It is mended.
    Mended(Deed),
    /// It is not so any more, and this was not our doing.
    Passed,
}

impl Fate {
    /// Whether the finding still holds.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Left | Self::Would(_))
    }
}

/// How something is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The domain's numbers become others, or its record goes, or both.
    Numbers {
        /// Before.
        old: Numbers,
        /// After.
        new: Numbers,
        /// What an earlier run left, and what becomes of it.
        earlier: Option<Earlier>,
    },
    /// The file is removed.
    Removed,
}

/// What [`repair()`] came to.
#[derive(Debug)]
pub struct Repaired {
    /// Every finding, and what became of it; behind them, what is out of step only since.
    pub findings: Vec<(Finding, Fate)>,
    /// What was done, or not, to each domain that is there.
    pub changes: Vec<Result<Outcome, Failure>>,
    /// What could not be removed of others.
    pub failures: Vec<Failure>,
}

/// What [`repair()`] would do, as far as can be told without a lock. Changes nothing.
pub fn foresee<H: Host>(host: &H, found: &Checked) -> Vec<(Finding, Fate)> {
    let patients = Patients::among(found);
    let fate = |finding: &Finding| match patients.of(finding) {
        None => Fate::Left,
        Some(Patient::Alive(row)) => Fate::Would(outlook(host, row)),
        Some(Patient::Gone(_)) => Fate::Would(Deed::Removed),
    };
    found.findings.iter().map(|finding| (finding.clone(), fate(finding))).collect()
}

/// Mends what can be mended of what was `found` among those `wanted`, each domain under its lock, and
/// looks again.
///
/// # Errors
/// The host cannot be looked at any more.
pub fn repair<H: Host>(
    host: &H,
    found: &Checked,
    wanted: &[DomainRef],
    lock_timeout: Duration,
    signals: &mut Signals,
) -> Result<Repaired, Cause> {
    let (mut changes, mut failures) = (Vec::new(), Vec::new());
    let mut deeds: HashMap<Identity, Deed> = HashMap::new();
    let mut treated: HashSet<Identity> = HashSet::new();
    let patients = Patients::among(found);
    let mut series = Series::new(host);
    for patient in found.findings.iter().filter_map(|finding| patients.of(finding)) {
        let identity = patient.identity();
        if !treated.insert(identity) {
            continue;
        }
        match patient {
            Patient::Alive(row) => {
                let result = mend(&mut series, row, lock_timeout, signals);
                if let Ok(outcome) = &result {
                    let old = row.reading().numbers();
                    let (new, earlier) = (outcome.plan.goal(), outcome.earlier.clone());
                    deeds.insert(identity, Deed::Numbers { old, new, earlier });
                }
                changes.push(result);
            }
            Patient::Gone(identity) => match discard(host, identity, signals) {
                Ok(()) => drop(deeds.insert(identity, Deed::Removed)),
                Err(cause) => failures.push(Failure {
                    domain: Some(Domain { identity, name: None }),
                    cause,
                    after: After::Unchanged,
                }),
            },
        }
    }
    // What is mended is what is not found again.
    let after = check(host, wanted)?.findings;
    let before: HashSet<Key<'_>> = found.findings.iter().map(Finding::key).collect();
    let left: HashSet<Key<'_>> = after.iter().map(Finding::key).collect();
    let fate = |finding: &Finding| {
        let patient = patients.of(finding).map(|patient| patient.identity());
        match patient.and_then(|patient| deeds.get(&patient)) {
            _ if left.contains(&finding.key()) => Fate::Left,
            Some(deed) => Fate::Mended(deed.clone()),
            None => Fate::Passed,
        }
    };
    let mut findings: Vec<(Finding, Fate)> =
        found.findings.iter().map(|finding| (finding.clone(), fate(finding))).collect();
    let is_new = |it: &&Finding| it.is_out_of_step() && !before.contains(&it.key());
    findings.extend(after.iter().filter(is_new).map(|it| (it.clone(), Fate::Left)));
    Ok(Repaired { findings, changes, failures })
}

/// Whom to mend.
enum Patient<'a> {
    /// A domain.
    Alive(&'a Row),
    /// What is left of one.
    Gone(Identity),
}

impl Patient<'_> {
    const fn identity(&self) -> Identity {
        match self {
            Self::Alive(row) => row.domain.identity,
            Self::Gone(identity) => *identity,
        }
    }
}

/// Whom there is to mend.
struct Patients<'a>(HashMap<Identity, &'a Row>);

impl<'a> Patients<'a> {
    fn among(found: &'a Checked) -> Self {
        Self(found.rows.iter().map(|row| (row.domain.identity, row)).collect())
    }

    /// Whom a finding is about, if it can be mended.
    fn of(&self, finding: &Finding) -> Option<Patient<'a>> {
        if !finding.is_mendable() {
            return None;
        }
        match finding {
            Finding::Domain { domain, .. } => {
                self.0.get(&domain.identity).copied().map(Patient::Alive)
            }
            Finding::Leftover(file) => Some(Patient::Gone(file.identity)),
            Finding::Ghost(_) | Finding::Unlisted => None,
        }
    }
}

/// Mends a living domain: what a change does, with nothing asked for.
fn mend<H: Host>(
    series: &mut Series<'_, H>,
    row: &Row,
    lock_timeout: Duration,
    signals: &mut Signals,
) -> Result<Outcome, Failure> {
    let domain = DomainRef::Id(row.domain.identity.domid);
    let request = Request { domain, wish: Wish::Mend, dry_run: false, lock_timeout };
    series.change(&request, signals)
}

/// Removes what a domain that is gone has left.
fn discard<H: Host>(host: &H, identity: Identity, signals: &mut Signals) -> Result<(), Cause> {
    let signals = signals.hold_off().map_err(|source| Cause::Os { what: "signals", source })?;
    leftover::remove(host.state_dir(), host.hypervisor(), identity, signals)
}

/// What [`mend()`] would do.
fn outlook<H: Host>(host: &H, row: &Row) -> Deed {
    let mut reading = row.reading();
    let old = reading.numbers();
    let intent = IntentFile::new(host.state_dir(), row.domain.identity);
    let earlier = match intent.read() {
        Ok(Found::Intent(found)) => {
            let (limit, earlier) = settlement(&reading, reading.least_limit(), &found);
            reading.info.limit = limit;
            Some(earlier(limit))
        }
        Ok(Found::Foreign { why }) => Some(Earlier::Foreign(intent.path().to_owned(), why)),
        // It can have been settled meanwhile.
        Ok(Found::Nothing) | Err(_) => None,
    };
    let new = plan(&reading, &Wish::Mend).map_or_else(|_| reading.numbers(), |plan| plan.goal());
    Deed::Numbers { old, new, earlier }
}
