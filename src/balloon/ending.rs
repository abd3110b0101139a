//! How a wait ends, what that means, and what can be done about it.
//!
//! Owns the reasons why a guest is not there, and their words.

use std::fmt;
use std::time::Duration;

use super::vigil::Patience;
use crate::domain::DomId;
use crate::error::{Cause, Exit, chain};
use crate::hypervisor::{DomainInfo, HostMemory};
use crate::size::{Kib, Mib};

/// How a wait ends.
#[derive(Debug)]
pub enum Ending {
    /// The guest is where it should be.
    There,
    /// It comes no nearer.
    Stuck,
    /// The time is up.
    TimeUp,
    /// Somebody else has changed the target.
    Overtaken {
        /// What it is now; none if it was removed.
        now: Option<Kib>,
    },
    /// The domain went away.
    Gone,
    /// A signal that ends the run.
    Interrupted,
    /// xenstore or the hypervisor do not answer any more.
    LostSight(Cause),
}

impl Ending {
    /// Whether the guest had its time, and did not use it.
    pub(super) const fn is_late(&self) -> bool {
        matches!(self, Self::Stuck | Self::TimeUp)
    }

    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Stuck => "stuck",
            Self::TimeUp => "time-up",
            Self::Overtaken { .. } => "target-changed",
            Self::Gone => "domain-gone",
            Self::Interrupted => "interrupted",
            Self::LostSight(_) => "lost-sight",
        }
    }
}

/// Why a guest may not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is paused.
    Paused,
    /// It is to grow beyond its limit.
    Limit(Kib),
    /// It is to grow by more than the host has.
    HostShort {
        /// What it lacks.
        missing: Kib,
        /// What the host has.
        available: Kib,
    },
    /// Nothing ever moved.
    NoDriver,
    /// It gave something, and gives nothing more.
    Clings,
    /// It took something, and takes nothing more.
    Full,
}

impl Reason {
    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Limit(_) => "limit",
            Self::HostShort { .. } => "host-short",
            Self::NoDriver => "no-driver",
            Self::Clings => "clings",
            Self::Full => "full",
        }
    }

    fn hint(self, domid: DomId) -> String {
        const AGAIN: &str = "then run the same command again, which wakes its driver up";
        match self {
            Self::Paused => format!("`xl unpause {domid}` lets it go on"),
            Self::Limit(_) => "somebody else has set that limit; run the same command again".to_owned(),
            Self::HostShort { .. } => format!("shrink or shut down another domain, {AGAIN}"),
            Self::NoDriver => {
                "is its balloon driver loaded? Linux has it with CONFIG_XEN_BALLOON, Windows with the PV drivers".to_owned()
            }
            Self::Clings => format!("ask for more, or free memory inside the guest, {AGAIN}"),
            Self::Full => {
                "a Linux guest outgrows what it was booted with only with CONFIG_XEN_BALLOON_MEMORY_HOTPLUG".to_owned()
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("it is paused"),
            Self::Limit(limit) => write!(f, "its limit is only {limit}"),
            Self::HostShort { missing, available } => write!(
                f,
                "the host has only {} MiB free of the {} MiB that it lacks",
                Mib(*available),
                Mib(*missing)
            ),
            Self::NoDriver => f.write_str("no balloon driver is seen at work"),
            Self::Clings => f.write_str("it seems to need what it holds"),
            Self::Full => f.write_str("it seems to have no room for more"),
        }
    }
}

/// Why a guest that had its time is not there, the surest first; `memory` is the host's.
pub(super) fn reasons(
    end: &Ending,
    info: &DomainInfo,
    wanted: Kib,
    moved: bool,
    memory: Option<HostMemory>,
) -> Vec<Reason> {
    if !end.is_late() {
        return Vec::new();
    }
    let missing = wanted.minus(info.current).unwrap_or_default();
    let limit = (missing > Kib(0) && info.limit < wanted).then_some(Reason::Limit(info.limit));
    let short = memory
        .map(|memory| memory.available())
        .filter(|available| *available < missing)
        .map(|available| Reason::HostShort { missing, available });
    let mut reasons: Vec<Reason> =
        [info.paused.then_some(Reason::Paused), limit, short].into_iter().flatten().collect();
    if reasons.is_empty() {
        match (moved, end) {
            (false, _) => reasons.push(Reason::NoDriver),
            // It was on its way.
            (true, Ending::TimeUp) => {}
            (true, _) if missing > Kib(0) => reasons.push(Reason::Full),
            (true, _) => reasons.push(Reason::Clings),
        }
    }
    reasons
}

/// How a wait ended. Displayed, it says why the guest is not there.
#[derive(Debug)]
pub struct Waited {
    /// How.
    pub end: Ending,
    /// The last look.
    pub info: DomainInfo,
    /// The target that was waited for.
    pub target: Kib,
    /// What the guest was to hold: target and video memory.
    pub wanted: Kib,
    /// Whether the guest came nearer at all.
    pub moved: bool,
    /// How long it took.
    pub took: Duration,
    /// How long it could have taken.
    pub patience: Patience,
    /// Why the guest may not be there, the surest first.
    pub reasons: Vec<Reason>,
}

impl Waited {
    /// The exit code.
    pub const fn exit(&self) -> Exit {
        match self.end {
            Ending::There => Exit::Done,
            Ending::Gone => Exit::NoDomain,
            Ending::Stuck
            | Ending::TimeUp
            | Ending::Overtaken { .. }
            | Ending::Interrupted
            | Ending::LostSight(_) => Exit::NotThere,
        }
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        let domid = self.info.identity.domid;
        match self.end {
            Ending::Stuck | Ending::TimeUp => match self.reasons.first() {
                Some(reason) => Some(reason.hint(domid)),
                None => Some("it was on its way: the same command waits on".to_owned()),
            },
            Ending::Overtaken { .. } => {
                Some("does a memory daemon (squeezed, qmemman) manage this domain?".to_owned())
            }
            Ending::There | Ending::Gone | Ending::Interrupted | Ending::LostSight(_) => None,
        }
    }
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, target, patience, moved, .. } = self;
        let (current, wanted) = (Mib(self.info.current), Mib(self.wanted));
        let place = format!("{current} MiB where it should hold {wanted} MiB");
        match end {
            Ending::There => return write!(f, "holds {current} MiB"),
            Ending::Stuck => {
                let at_all = if *moved { "" } else { " at all" };
                let still = patience.still.as_secs_f64();
                write!(
                    f,
                    "the target is set, but the guest holds {place}, and has not moved{at_all} for {still} s"
                )?;
            }
            Ending::TimeUp => {
                let most = patience.at_most.unwrap_or(self.took).as_secs_f64();
                write!(f, "the target is set, but the guest holds {place} after {most} s")?;
            }
            Ending::Overtaken { now: Some(now) } => write!(
                f,
                "somebody else has changed the target: it is now {now}, not {target}; the guest holds {current} MiB"
            )?,
            Ending::Overtaken { now: None } => write!(
                f,
                "somebody else has removed the target of {target}; the guest holds {current} MiB"
            )?,
            Ending::Gone => f.write_str("the domain went away while its guest was waited for")?,
            Ending::Interrupted => write!(
                f,
                "interrupted; the target is set, and the guest goes on: it holds {place}"
            )?,
            Ending::LostSight(cause) => write!(
                f,
                "the target is set, but the guest cannot be seen any more: {}; it held {place}",
                chain(cause)
            )?,
        }
        self.reasons.iter().try_for_each(|reason| write!(f, "; {reason}"))
    }
}
