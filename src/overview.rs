//! All of a host's domains with their numbers side by side, and what is off about each.
//!
//! Owns the reading of many domains and the judgement on it. Never takes a lock, never waits for one
//! and never changes anything: what it shows can be half of somebody's change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::{DomId, Domain, Name};
use crate::error::Cause;
use crate::host::Host;
use crate::hypervisor::{DomainInfo, HostMemory, Hypervisor as _, HypervisorError, UNLIMITED};
use crate::intent::{Found, IntentFile};
use crate::lock::{self, Holder};
use crate::nodes::{Surveyed, survey};
use crate::plan::{Reading, SLACK, TOLERANCE};
use crate::resolve::domids;
use crate::size::{Kib, Mib};

/// A host's domains.
#[derive(Debug)]
pub struct Overview {
    /// One row for each, by domid.
    pub rows: Vec<Row>,
    /// Whether it is not a real host.
    pub simulated: bool,
    /// The host's own memory; an error where the hypervisor does not tell.
    pub memory: Result<HostMemory, HypervisorError>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who it is.
    pub domain: Domain,
    /// What kind of guest.
    pub kind: Kind,
    /// What the hypervisor says.
    pub info: DomainInfo,
    /// `memory/target`.
    pub target: Option<Kib>,
    /// `memory/static-max`.
    pub static_max: Option<Kib>,
    /// `memory/videoram` in KiB.
    pub video: i32,
    /// What is off, the gravest first.
    pub remarks: Vec<Remark>,
}

/// The kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtualised.
    Pv,
    /// Paravirtualised in a hardware container.
    Pvh,
    /// Fully virtualised.
    Hvm,
}

impl Kind {
    /// `PV`, `PVH` or `HVM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pv => "PV",
            Self::Pvh => "PVH",
            Self::Hvm => "HVM",
        }
    }
}

/// Something that an admin should know about a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// The limit is below what target and video memory need.
    LimitTooLow {
        /// The limit.
        limit: Kib,
        /// What it has to be at least.
        need: Kib,
    },
    /// The target is above static-max.
    TargetAboveMax {
        /// `memory/target`.
        target: Kib,
        /// `memory/static-max`.
        static_max: Kib,
    },
    /// The limit fits neither the target nor static-max.
    LimitOdd {
        /// The limit.
        limit: Kib,
        /// What it is after `set`.
        need: Kib,
    },
    /// It holds more than its limit, and gets no memory until it has given some back.
    OverLimit {
        /// What it holds.
        current: Kib,
        /// The limit.
        limit: Kib,
    },
    /// It holds more than its target asks for.
    Above(Kib),
    /// It holds less than its target allows.
    Below(Kib),
    /// xenstore has no memory keys for it.
    NoKeys,
    /// xenstore has something that is no size there.
    BadNode(String),
    /// It is paused and follows no target.
    Paused,
    /// Another program manages its memory and will overwrite what is set by hand.
    Managed(&'static str),
    /// Somebody holds its lock.
    Locked {
        /// Who, where the kernel tells.
        holder: Option<Holder>,
        /// For how long at least.
        since: Option<Duration>,
    },
    /// A change of xmem's was cut off, or is being made just now.
    Unsettled(PathBuf),
}

impl Remark {
    /// Whether it says that target, limit and maximum do not fit each other.
    pub const fn is_out_of_step(&self) -> bool {
        matches!(
            self,
            Self::LimitTooLow { .. } | Self::TargetAboveMax { .. } | Self::LimitOdd { .. }
        )
    }

    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LimitTooLow { .. } => "limit-too-low",
            Self::TargetAboveMax { .. } => "target-above-maximum",
            Self::LimitOdd { .. } => "limit-odd",
            Self::OverLimit { .. } => "over-limit",
            Self::Above(_) => "above-target",
            Self::Below(_) => "below-target",
            Self::NoKeys => "no-keys",
            Self::BadNode(_) => "bad-node",
            Self::Paused => "paused",
            Self::Managed(_) => "managed",
            Self::Locked { .. } => "locked",
            Self::Unsettled(_) => "unsettled",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitTooLow { limit, need } => {
                write!(f, "out of step: limit {limit} is below the {need} that its target needs")
            }
            Self::TargetAboveMax { target, static_max } => {
                write!(f, "out of step: target {target} is above the maximum {static_max}")
            }
            Self::LimitOdd { limit, need } => {
                write!(f, "out of step: limit {limit}, where its target makes it {need}")
            }
            Self::OverLimit { current, limit } => {
                write!(f, "over its limit: holds {} of {} MiB", Mib(*current), Mib(*limit))
            }
            Self::Above(by) => write!(f, "{} MiB above its target", Mib(*by)),
            Self::Below(by) => write!(f, "{} MiB below its target", Mib(*by)),
            Self::NoKeys => f.write_str("no memory keys in xenstore"),
            Self::BadNode(why) => f.write_str(why),
            Self::Paused => f.write_str("paused"),
            Self::Managed(by) => write!(f, "managed by {by}"),
            Self::Locked { holder, since } => {
                f.write_str("lock held")?;
                holder.as_ref().map_or(Ok(()), |holder| write!(f, " by {holder}"))?;
                since.map_or(Ok(()), |since| write!(f, " for {} s", since.as_secs()))
            }
            Self::Unsettled(_) => f.write_str("a change was cut off, or is under way"),
        }
    }
}

/// Looks at every domain of `host`.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub fn overview<H: Host>(host: &H) -> Result<Overview, Cause> {
    look(host, &host.connect()?)
}

/// As [`overview`], over a connection that is there already.
///
/// # Errors
/// xenstore or the hypervisor do not answer.
pub fn look<H: Host>(host: &H, store: &H::Store) -> Result<Overview, Cause> {
    let mut infos = Vec::new();
    for domid in domids(store)? {
        if let Some(info) = host.hypervisor().domain(domid)? {
            infos.push(info);
        }
    }
    let ids: Vec<DomId> = infos.iter().map(|info| info.identity.domid).collect();
    let rows = infos
        .into_iter()
        .zip(survey(store, &ids)?)
        .map(|(info, surveyed)| row(host.state_dir(), info, surveyed))
        .collect();
    Ok(Overview { rows, simulated: host.simulated(), memory: host.hypervisor().host_memory() })
}

fn row(state_dir: &Path, info: DomainInfo, surveyed: Surveyed) -> Row {
    let identity = info.identity;
    let reading = Reading {
        info,
        target: surveyed.target,
        static_max: surveyed.static_max,
        video: surveyed.video,
    };
    let mut remarks: Vec<Remark> = surveyed.bad.into_iter().map(Remark::BadNode).collect();
    remarks.extend(judge(&reading));
    if surveyed.dynamic_max {
        remarks.push(Remark::Managed("xapi (memory/dynamic-max)"));
    }
    if surveyed.hotplug_max {
        remarks.push(Remark::Managed("qmemman (memory/hotplug-max)"));
    }
    remarks.extend(locked(&lock::path(state_dir, identity)));
    let intent = IntentFile::new(state_dir, identity);
    if !matches!(intent.read(), Ok(Found::Nothing)) {
        remarks.push(Remark::Unsettled(intent.path().to_owned()));
    }
    let kind = match (surveyed.kind.as_deref(), info.hvm) {
        (_, false) => Kind::Pv,
        (Some("pvh"), true) => Kind::Pvh,
        // A dom0 that is not PV is always PVH, and it has no entry.
        (None, true) if identity.domid == DomId::DOM0 => Kind::Pvh,
        (_, true) => Kind::Hvm,
    };
    Row {
        domain: Domain { identity, name: surveyed.name.map(Name) },
        kind,
        info,
        target: surveyed.target,
        static_max: surveyed.static_max,
        video: surveyed.video,
        remarks,
    }
}

/// What is off about a domain's numbers. Pure.
pub fn judge(reading: &Reading) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let DomainInfo { current, limit, paused, .. } = reading.info;
    let dom0 = reading.info.identity.domid == DomId::DOM0;
    match reading.target {
        // dom0 has none until somebody sets its memory.
        None if dom0 => {}
        None => remarks.push(Remark::NoKeys),
        Some(target) => {
            if let Some(static_max) = reading.static_max.filter(|most| target > *most) {
                remarks.push(Remark::TargetAboveMax { target, static_max });
            }
            if let Some(need) = reading.need(target).map(|need| Kib::from_pages(need.pages())) {
                let of_max = reading.static_max.and_then(|most| most.plus(SLACK));
                if limit < need && !dom0 {
                    remarks.push(Remark::LimitTooLow { limit, need });
                } else if limit != need && Some(limit) != of_max && limit != UNLIMITED && !dom0 {
                    remarks.push(Remark::LimitOdd { limit, need });
                }
                let wanted = need.minus(SLACK).unwrap_or_default();
                if let Some(by) = current.minus(wanted).filter(|by| *by > TOLERANCE) {
                    remarks.push(Remark::Above(by));
                } else if let Some(by) = wanted.minus(current).filter(|by| *by > TOLERANCE) {
                    remarks.push(Remark::Below(by));
                }
            }
        }
    }
    if current > limit {
        remarks.push(Remark::OverLimit { current, limit });
    }
    if paused {
        remarks.push(Remark::Paused);
    }
    remarks
}

/// Whether somebody holds the lock at `path`, without touching it.
fn locked(path: &Path) -> Option<Remark> {
    use std::os::unix::fs::MetadataExt as _;
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        // Nothing can be said about it, and that is not worth a line.
        Err(_) => return None,
    };
    // A file that nobody has locked was left by a process that died: the next one takes it over.
    let holder = lock::holder(file.dev(), file.ino())?;
    // The file is made by the one who takes the lock and removed when it is released.
    let since = file.modified().ok().and_then(|made| made.elapsed().ok());
    Some(Remark::Locked { holder: Some(holder), since })
}
