//! The limit to restore after a change that was rolled back or killed. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use xen::escape::escaped_path;
use xen::{Identity, Kib};

use crate::intent::{Intent, IntentError, IntentFile, Record};
use crate::memory::{BadNode, Limit, Memory, Numbers};

/// The side of a change that xenstore shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitState {
    /// The old one: it was not committed.
    NotApplied,
    /// The new one: it was committed.
    Applied,
    /// Neither: another program has written since.
    Superseded,
}

impl CommitState {
    /// The side of a change from `old` to `new` that `shown` is on. A change of the limit alone looks the same on both
    /// sides, and counts as applied.
    pub(crate) fn of(shown: Numbers, old: Numbers, new: Numbers) -> Self {
        let nodes = |numbers: Numbers| (numbers.target, numbers.static_max);
        if nodes(shown) == nodes(new) {
            Self::Applied
        } else if nodes(shown) == nodes(old) {
            Self::NotApplied
        } else {
            Self::Superseded
        }
    }
}

/// The limit of a domain with this `memory` after a change that did not end as planned: `to`, if the present limit
/// is one of `ours`, those that the change itself can have left. Any other limit is another program's, and stays.
///
/// The result is never too low for the target in xenstore, unless the guest may write that itself. `guest_may_write` is
/// called only if that matters.
///
/// # Errors
/// Those of `guest_may_write`.
pub(crate) fn limit_to_restore<E>(
    memory: &Memory,
    ours: &[Kib],
    to: Kib,
    guest_may_write: impl FnOnce() -> Result<bool, E>,
) -> Result<Kib, E> {
    let present = memory.info.limit;
    let limit = if ours.contains(&present) { to } else { present };
    let is_enough = limit >= memory.least_limit();
    Ok(if is_enough || guest_may_write()? { limit } else { memory.required_limit() })
}

/// The limit before and after a recovery. Both are the same if it was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStep {
    /// The limit that the recovery found.
    pub from: Kib,
    /// The limit since.
    pub to: Kib,
}

/// A killed run's change, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// It was committed, or changed the limit alone: the limit was completed.
    Completed(LimitStep),
    /// It was not committed: the limit was rolled back.
    RolledBack(LimitStep),
    /// Another program has set the memory since: the record was dropped. The limit stays, unless the target needs more.
    Superseded(LimitStep),
    /// A record that this xmem does not understand was moved aside.
    SetAside {
        /// Its new path.
        path: PathBuf,
        /// The reason why it is not understood.
        why: String,
    },
    /// A record was left alone: this was a dry run.
    Pending(PathBuf),
}

impl Recovery {
    /// For a dry run: the record that a killed run left of the domain `identity`, if there is one.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(crate) fn pending(
        state_dir: &Path,
        identity: Identity,
    ) -> Result<Option<Self>, IntentError> {
        let record = IntentFile::new(state_dir, identity);
        Ok(match record.read()? {
            Record::Absent => None,
            _ => Some(Self::Pending(record.path().to_owned())),
        })
    }

    /// The limit before and after; `None` if the recovery has nothing to do with it.
    pub const fn limit_step(&self) -> Option<LimitStep> {
        match self {
            Self::Completed(step) | Self::RolledBack(step) | Self::Superseded(step) => Some(*step),
            Self::SetAside { .. } | Self::Pending(_) => None,
        }
    }

    /// The change of the limit, if there was one.
    pub fn limit_change(&self) -> Option<LimitStep> {
        self.limit_step().filter(|step| step.from != step.to)
    }

    /// The recovery's name: stable, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Completed(_) => "recovery-completed",
            Self::RolledBack(_) => "recovery-rolled-back",
            Self::Superseded(_) => "recovery-superseded",
            Self::SetAside { .. } => "recovery-set-aside",
            Self::Pending(_) => "recovery-pending",
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(step) => {
                write!(
                    f,
                    "an earlier xmem was interrupted; its change is complete now: the limit is {}",
                    Limit(step.to)
                )
            }
            Self::RolledBack(step) => {
                write!(
                    f,
                    "an earlier xmem was interrupted before its commit; the limit is rolled back to {}",
                    Limit(step.to)
                )
            }
            Self::Superseded(step) => write!(
                f,
                "an earlier xmem was interrupted, and another program has set the memory since; the limit is {}",
                Limit(step.to)
            ),
            Self::SetAside { path, why } => write!(
                f,
                "an intent record that xmem does not understand ({why}) was moved to {}",
                escaped_path(path)
            ),
            Self::Pending(path) => write!(
                f,
                "an earlier xmem was interrupted ({}); the next change completes or rolls back what it left",
                escaped_path(path)
            ),
        }
    }
}

/// Recovers from a killed run that left `intent`: the limit to restore, and the report. The record is trusted only
/// while the present limit is its old or its new one. `guest_may_write` is as for [`limit_to_restore`].
///
/// # Errors
/// A node is not a size, or the errors of `guest_may_write`.
pub(crate) fn recover<E: From<BadNode>>(
    memory: &Memory,
    intent: &Intent,
    guest_may_write: impl FnOnce() -> Result<bool, E>,
) -> Result<(Kib, Recovery), E> {
    let (old, new) = (intent.old, intent.new);
    let ours = [old.limit, new.limit];
    let present = memory.info.limit;
    let (to, report): (Kib, fn(LimitStep) -> Recovery) =
        match CommitState::of(memory.numbers()?, old, new) {
            _ if !ours.contains(&present) => (present, Recovery::Superseded),
            CommitState::Applied => (new.limit, Recovery::Completed),
            CommitState::NotApplied => (old.limit, Recovery::RolledBack),
            CommitState::Superseded => (present, Recovery::Superseded),
        };
    let limit = limit_to_restore(memory, &ours, to, guest_may_write)?;
    Ok((limit, report(LimitStep { from: present, to: limit })))
}

#[cfg(test)]
mod tests;
