//! The end of a wait, and the reasons for it, in words.

use std::fmt;
use std::time::Duration;

use xen::hypervisor::HostMemory;
use xen::{Dom0, DomId, Kib, Mib};

use super::{WaitEnd, WaitReason, WaitReport};
use crate::failure::chain;
use crate::state::{Follows, State};

/// The least time without progress that says something about a guest's driver.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// The time without a first movement after which a driver appears not to run.
const FIRST_MOVEMENT: Duration = Duration::from_secs(5);

impl WaitEnd {
    /// The end's name: stable, for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Stuck | Self::Failed(_) => "stuck",
            Self::TimedOut => "timed-out",
            Self::TargetChanged { .. } => "target-changed",
            Self::Gone { .. } => "domain-gone",
            Self::Stopped(_) => "domain-stopped",
            Self::Interrupted => "interrupted",
            Self::NotNeeded => "not-needed",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Whether the guest had its time and did not reach its target.
    pub const fn is_late(&self) -> bool {
        matches!(self, Self::Stuck | Self::TimedOut | Self::Stopped(_))
    }
}

impl WaitReason {
    /// The reason's name: stable, for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::State(state) => state.word(),
            Self::Limit(_) => "limit",
            Self::HostShort { .. } => "host-short",
            Self::NoDriver => "no-driver",
            Self::GuestNeedsMemory => "guest-needs-memory",
            Self::NoHotplug => "no-hotplug",
            Self::Dom0Sysfs(_) => "dom0-sysfs",
            Self::DirectMapped => "direct-mapped",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(State::Building) => f.write_str("it is being built"),
            Self::State(State::ShutDown) => f.write_str("it has shut down"),
            Self::State(State::Crashed) => f.write_str("it has crashed"),
            Self::State(state) => write!(f, "it is {}", state.word()),
            Self::Limit(limit) => write!(f, "its limit is only {} MiB", Mib(*limit)),
            Self::HostShort { needs, available: Kib(0) } => {
                write!(f, "it needs {} MiB more, but the host has none free", Mib(*needs))
            }
            Self::HostShort { needs, available } => write!(
                f,
                "it needs {} MiB more, but the host has only {} MiB free",
                Mib(*needs),
                Mib(*available)
            ),
            Self::NoDriver => f.write_str("no balloon driver appears to be running"),
            Self::GuestNeedsMemory => f.write_str("it seems unable to free more"),
            Self::NoHotplug => f.write_str("it is not growing"),
            Self::Dom0Sysfs(target) => write!(
                f,
                "dom0's own target is {} MiB, set in its sysfs (xen_memory0/target_kb)",
                Mib(*target)
            ),
            Self::DirectMapped => f.write_str(
                "dom0 is mapped 1:1 here, so the pages it gives back stay allocated to it",
            ),
        }
    }
}

/// The reasons why a guest has not reached its target, the most certain first.
pub(super) fn reasons(
    report: &WaitReport,
    state: State,
    dom0: Dom0,
    host: Option<HostMemory>,
) -> Vec<WaitReason> {
    if !report.end.is_late() {
        return Vec::new();
    }
    let WaitReport { info, wanted, target, moved, .. } = report;
    if state.follows() != Follows::Now {
        return vec![WaitReason::State(state)];
    }
    let needs = wanted.minus(info.current).filter(|needs| *needs > Kib(0));
    let limit = needs.filter(|_| info.limit < *wanted).map(|_| WaitReason::Limit(info.limit));
    let short = needs.zip(host).and_then(|(needs, host)| {
        let available = host.available();
        (available < needs).then_some(WaitReason::HostShort { needs, available })
    });
    let is_dom0 = info.identity.domid == DomId::DOM0;
    let sysfs = dom0
        .balloon_target
        .filter(|own| is_dom0 && own.0.abs_diff(target.0) > report.policy.within.0)
        .map(WaitReason::Dom0Sysfs);
    let mapped =
        (is_dom0 && dom0.direct_mapped && needs.is_none()).then_some(WaitReason::DirectMapped);
    let seen: Vec<_> = [mapped, sysfs, limit, short].into_iter().flatten().collect();
    match (seen.is_empty(), moved, &report.end) {
        (false, ..) => seen,
        (true, _, WaitEnd::Stuck) if report.policy.patience < LEAST_PATIENCE => Vec::new(),
        // It was still making progress, or had no time to begin.
        (true, moved, WaitEnd::TimedOut) if *moved || report.took < FIRST_MOVEMENT => Vec::new(),
        (true, _, _) if needs.is_some() => vec![WaitReason::NoHotplug],
        (true, false, _) => vec![WaitReason::NoDriver],
        (true, true, _) => vec![WaitReason::GuestNeedsMemory],
    }
}

/// The end of the wait as a sentence.
impl fmt::Display for WaitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (current, wanted) = (Mib(self.info.current), Mib(self.wanted));
        let place = format!("{current} MiB instead of {wanted} MiB");
        match &self.end {
            WaitEnd::Reached => return write!(f, "has {current} MiB"),
            WaitEnd::Stuck => {
                write!(f, "the target is set, but the guest has {place}")?;
                // A guest that does not run is expected to make no progress.
                if !matches!(self.reasons.first(), Some(WaitReason::State(_))) {
                    let patience = self.policy.patience.as_secs_f64();
                    write!(f, " and has made no progress for {patience} s")?;
                }
            }
            WaitEnd::TimedOut => {
                let most = self.policy.at_most.unwrap_or(self.took).as_secs_f64();
                write!(f, "the target is set, but the guest has {place} after {most} s")?;
            }
            WaitEnd::TargetChanged { now: Some(now) } => write!(
                f,
                "another program changed the target from {} MiB to {} MiB; the guest has {current} MiB",
                Mib(self.target),
                Mib(*now)
            )?,
            WaitEnd::TargetChanged { now: None } => write!(
                f,
                "another program removed the target of {} MiB; the guest has {current} MiB",
                Mib(self.target)
            )?,
            WaitEnd::Gone { successor: None } => {
                f.write_str("the domain went away before its guest reached the target")?;
            }
            WaitEnd::Gone { successor: Some(domid) } => write!(
                f,
                "the domain went away before its guest reached the target; it is back as domain {domid}"
            )?,
            WaitEnd::Stopped(_) => {
                write!(f, "the target is set, but the guest no longer balloons: it has {place}")?;
            }
            // Whether it continues is not known: it may have stalled.
            WaitEnd::Interrupted => {
                write!(f, "interrupted; the target stays set, and the guest has {place}")?;
            }
            WaitEnd::NotNeeded => {
                write!(f, "the host has enough; the target stays set, and the guest has {place}")?;
            }
            WaitEnd::Failed(failure) => {
                write!(f, "nudging the guest's balloon driver failed: {}", failure.reason())?;
            }
            WaitEnd::Unreachable(cause) => write!(
                f,
                "the target is set, but the guest can no longer be observed: {}; it had {place}",
                chain(cause)
            )?,
        }
        self.reasons.iter().try_for_each(|reason| write!(f, "; {reason}"))
    }
}
