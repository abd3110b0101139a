//! What can be off about a domain: what it is, what it means, and what mends it. Pure.
//!
//! Owns the judgement on one domain's numbers, and every sentence about it: `xmem list` shows them as
//! notes, `xmem check` as findings. Never looks at a host.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::DomId;
use crate::harmless::harmless_path;
use crate::hypervisor::{DomainInfo, UNLIMITED};
use crate::lock::Holder;
use crate::plan::{Reading, SLACK, TOLERANCE, Wish, plan};
use crate::size::{Kib, Mib};

/// Something that an admin should know about a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// xenstore has something that is no size there.
    BadNode(String),
    /// The target is above static-max.
    TargetAboveMax {
        /// `memory/target`.
        target: Kib,
        /// `memory/static-max`.
        static_max: Kib,
        /// The largest size that may be set under it, video memory included.
        most: Kib,
    },
    /// The limit is below what target and video memory need.
    LimitTooLow {
        /// The limit.
        limit: Kib,
        /// What it has to be at least.
        need: Kib,
    },
    /// One of `memory/target` and `memory/static-max` is there, and the other is not.
    HalfKeys {
        /// The one that is missing.
        missing: &'static str,
    },
    /// A change of xmem's was cut off. Whether somebody is at it just now, a lock tells.
    Unsettled {
        /// Its record.
        path: PathBuf,
        /// The process that made it; `None` when the record is not understood.
        pid: Option<u32>,
    },
    /// The limit is above what the target needs, and not what the maximum makes it.
    LimitOdd {
        /// The limit.
        limit: Kib,
        /// What it is after `set`.
        need: Kib,
        /// The size to set for that.
        size: Kib,
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
    /// It is paused and follows no target.
    Paused,
    /// It is being destroyed, and this is what it still holds.
    Dying(Kib),
    /// Another program manages its memory and will overwrite what is set by hand.
    Managed(&'static str),
    /// Somebody holds its lock.
    Locked {
        /// Who, where the kernel tells.
        holder: Option<Holder>,
        /// For how long at least.
        since: Option<Duration>,
    },
}

impl Remark {
    /// Whether it says that target, limit and maximum do not fit each other, or cannot be told to.
    /// Everything else is as it may be, and only worth knowing.
    ///
    /// A limit that is too high is not among it: libxl itself leaves one when it builds an HVM guest
    /// that may grow, `xl mem-max` before Xen 4.17 leaves one under an old static-max, and Qubes'
    /// qmemman and xapi's squeezed keep to offsets of their own.
    pub const fn is_out_of_step(&self) -> bool {
        match self {
            Self::BadNode(_)
            | Self::TargetAboveMax { .. }
            | Self::LimitTooLow { .. }
            | Self::HalfKeys { .. }
            | Self::Unsettled { .. } => true,
            Self::LimitOdd { .. }
            | Self::OverLimit { .. }
            | Self::Above(_)
            | Self::Below(_)
            | Self::NoKeys
            | Self::Paused
            | Self::Dying(_)
            | Self::Managed(_)
            | Self::Locked { .. } => false,
        }
    }

    /// Whether `xmem check --repair` mends it, in a domain that is as `reading` says: where only one
    /// thing can be meant, and the guest can lose nothing by it.
    pub fn is_mendable(&self, reading: &Reading) -> bool {
        match self {
            Self::Unsettled { .. } => true,
            Self::LimitTooLow { .. } | Self::HalfKeys { .. } | Self::NoKeys => {
                plan(reading, &Wish::Mend).is_ok_and(|plan| !plan.changes_nothing())
            }
            _ => false,
        }
    }

    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::BadNode(_) => "bad-node",
            Self::TargetAboveMax { .. } => "target-above-maximum",
            Self::LimitTooLow { .. } => "limit-too-low",
            Self::HalfKeys { .. } => "half-keys",
            Self::Unsettled { .. } => "unsettled",
            Self::LimitOdd { .. } => "limit-odd",
            Self::OverLimit { .. } => "over-limit",
            Self::Above(_) => "above-target",
            Self::Below(_) => "below-target",
            Self::NoKeys => "no-keys",
            Self::Paused => "paused",
            Self::Dying(_) => "dying",
            Self::Managed(_) => "managed",
            Self::Locked { .. } => "locked",
        }
    }

    /// What it means for the domain and its host.
    pub const fn means(&self) -> &'static str {
        match self {
            Self::BadNode(_) => {
                "nobody can tell what was meant; xmem changes nothing there, and xl misreads it"
            }
            Self::TargetAboveMax { .. } => {
                "one of the two is wrong, and only you know which; xl refuses most changes of either"
            }
            Self::LimitTooLow { .. } => {
                "the guest is told to hold more than Xen lets it have: its allocations fail"
            }
            Self::HalfKeys { .. } => "xl and xmem need both to change the domain's memory",
            Self::Unsettled { pid: Some(_), .. } => {
                "the limit may be the one of a change that never came, or not yet the one of a change that did"
            }
            Self::Unsettled { pid: None, .. } => {
                "xmem did not write it, or not to its end, and does not follow it"
            }
            Self::LimitOdd { .. } => {
                "the guest may take more than its target asks for; some tools mean it so"
            }
            Self::OverLimit { .. } => {
                "Xen gives the guest nothing more until it has given that back"
            }
            Self::Above(_) => "the guest has not given back yet what its target no longer grants",
            Self::Below(_) => "the guest has not taken yet what its target grants",
            Self::NoKeys => "nothing has set its memory yet, so there is nothing to keep in step",
            Self::Paused => "it follows no target before it runs again",
            Self::Dying(_) => {
                "that memory is free when the last who uses it, often a device's backend, lets go of it"
            }
            Self::Managed(_) => "what is set by hand is overwritten",
            Self::Locked { .. } => "it is being changed just now, so its numbers are not judged",
        }
    }

    /// What there is to do about it, in domain `domid`, where `--repair` does not.
    pub fn mend(&self, domid: DomId) -> Option<String> {
        Some(match self {
            Self::BadNode(_) => {
                "write the size in KiB there with xenstore-write, or find out who wrote it".to_owned()
            }
            Self::TargetAboveMax { target, most, .. } => format!(
                "if the target is right: xmem max {domid} {}k; if the maximum is: xmem set {domid} {}k",
                target.0, most.0
            ),
            Self::LimitTooLow { .. } => "first mend the maximum".to_owned(),
            Self::HalfKeys { missing } => format!(
                "write /local/domain/{domid}/{missing} with xenstore-write, in KiB, if you know what it should be"
            ),
            Self::LimitOdd { size, .. } => format!("if nothing needs it: xmem set {domid} {}k", size.0),
            Self::OverLimit { .. } | Self::Above(_) | Self::Below(_) => {
                "wait; if it stays so, see whether the guest's balloon driver is there: it gives up after \
                 some tries, until another target is set"
                    .to_owned()
            }
            Self::Paused => format!("xl unpause {domid}"),
            Self::Managed(_) => "change it through that program".to_owned(),
            Self::Locked { .. } => "wait, or see what that process is doing".to_owned(),
            Self::NoKeys | Self::Dying(_) | Self::Unsettled { .. } => return None,
        })
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadNode(why) => f.write_str(why),
            Self::TargetAboveMax { target, static_max, .. } => {
                write!(f, "out of step: target {target} is above the maximum {static_max}")
            }
            Self::LimitTooLow { limit, need } => {
                write!(f, "out of step: limit {limit} is below the {need} that its target needs")
            }
            Self::HalfKeys { missing } => write!(f, "out of step: no {missing} in xenstore"),
            Self::Unsettled { pid: Some(pid), .. } => {
                write!(f, "out of step: a change by process {pid} was cut off")
            }
            Self::Unsettled { path, pid: None } => {
                write!(
                    f,
                    "out of step: a record that xmem does not understand: {}",
                    harmless_path(path)
                )
            }
            Self::LimitOdd { limit, need, .. } => {
                write!(f, "limit {limit} is above the {need} that its target needs")
            }
            Self::OverLimit { current, limit } => {
                write!(f, "over its limit: holds {} of {} MiB", Mib(*current), Mib(*limit))
            }
            Self::Above(by) => write!(f, "{} MiB above its target", Mib(*by)),
            Self::Below(by) => write!(f, "{} MiB below its target", Mib(*by)),
            Self::NoKeys => f.write_str("no memory keys in xenstore"),
            Self::Paused => f.write_str("paused"),
            Self::Dying(held) => write!(f, "being destroyed; holds {} MiB", Mib(*held)),
            Self::Managed(by) => write!(f, "managed by {by}"),
            Self::Locked { holder, since } => {
                f.write_str("lock held")?;
                holder.as_ref().map_or(Ok(()), |holder| write!(f, " by {holder}"))?;
                since.map_or(Ok(()), |since| write!(f, " for {} s", since.as_secs()))
            }
        }
    }
}

/// What is off about a domain's numbers. Pure.
pub fn judge(reading: &Reading) -> Vec<Remark> {
    let DomainInfo { current, limit, paused, dying, .. } = reading.info;
    if dying {
        // xenstore is emptied before the memory is given back.
        return vec![Remark::Dying(current)];
    }
    let mut remarks = keys(reading);
    if current > limit {
        remarks.push(Remark::OverLimit { current, limit });
    }
    if let Some(target) = reading.target {
        let wanted = target.offset(reading.video.into()).unwrap_or_default();
        if let Some(by) = current.minus(wanted).filter(|by| *by > TOLERANCE) {
            remarks.push(Remark::Above(by));
        } else if let Some(by) = wanted.minus(current).filter(|by| *by > TOLERANCE) {
            remarks.push(Remark::Below(by));
        }
    }
    if paused {
        remarks.push(Remark::Paused);
    }
    remarks
}

/// What is off between target, maximum and limit.
fn keys(reading: &Reading) -> Vec<Remark> {
    let (target, static_max) = match (reading.target, reading.static_max) {
        (Some(target), Some(static_max)) => (target, static_max),
        (None, None) => return vec![Remark::NoKeys],
        (None, Some(_)) => return vec![Remark::HalfKeys { missing: "memory/target" }],
        (Some(_), None) => {
            let half = Remark::HalfKeys { missing: "memory/static-max" };
            return too_low(reading).into_iter().chain([half]).collect();
        }
    };
    let mut remarks = Vec::new();
    if target > static_max {
        let most = static_max.offset(reading.video.into()).unwrap_or(static_max);
        remarks.push(Remark::TargetAboveMax { target, static_max, most });
    }
    if let Some(low) = too_low(reading) {
        remarks.push(low);
        return remarks;
    }
    let limit = reading.info.limit;
    let need = reading.least_limit();
    // libxl builds an HVM guest that may grow with a target of 1 MiB less (`libxl__get_targetmem_fudge`).
    let odd = need.plus(SLACK).is_some_and(|usual| limit > usual);
    let of_max = static_max.plus(SLACK).map(|most| Kib::from_pages(most.pages()));
    if odd && Some(limit) != of_max && limit != UNLIMITED && !reading.is_dom0() {
        let size = need.minus(SLACK).unwrap_or_default();
        remarks.push(Remark::LimitOdd { limit, need, size });
    }
    remarks
}

fn too_low(reading: &Reading) -> Option<Remark> {
    let need = reading.lacks()?;
    Some(Remark::LimitTooLow { limit: reading.info.limit, need })
}

#[cfg(test)]
mod tests;
