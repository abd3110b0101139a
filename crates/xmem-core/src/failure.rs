//! A failed change or read: the cause, the domain, and the state that is left.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use xen::escape::escaped_path;
use xen::hypervisor::HypervisorError;
use xen::lock::LockError;
use xen::xenstore::StoreError;
use xen::{Kib, Mib};

use crate::domain::Domain;
use crate::intent::IntentError;
use crate::memory::{BadNode, Limit};
use crate::plan::{Refusal, not_counting};
use crate::recovery::{LimitStep, Recovery};
use crate::resolve::ResolveError;
use crate::state::State;

/// What stopped a change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Cause {
    /// The domain was not found.
    #[error(transparent)]
    Resolve(ResolveError),
    /// The domain existed, and does not any more.
    #[error("the domain went away")]
    Gone,
    /// The domain is being destroyed: the hypervisor still shows it, and nothing can be set any more.
    #[error("the domain is dying")]
    Dying,
    /// The domain's state allows no change.
    #[error("the domain is {0}")]
    State(State),
    /// A limit or a safety rule.
    #[error(transparent)]
    Refused(Refusal),
    /// A node with a value that makes no sense.
    #[error(transparent)]
    BadNode(#[from] BadNode),
    /// The lock was not taken.
    #[error(transparent)]
    Lock(LockError),
    /// The lock was taken, and another program removed its file.
    #[error("another program removed the domain's lock file while xmem held the lock")]
    LockLost,
    /// The caller interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// xenstore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// xenstore failed at the commit, and answers again. The commit had no effect, or another program has written since.
    #[error(transparent)]
    Commit(StoreError),
    /// The hypervisor failed.
    #[error(transparent)]
    Hypervisor(HypervisorError),
    /// The intent record could not be written, read or removed.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// libxl's state directory cannot be read.
    #[error("cannot read the directory {}", escaped_path(path))]
    StateDir { path: PathBuf, source: io::Error },
    /// Every try met another client's change.
    #[error("gave up after {tries} conflicting xenstore transactions")]
    Conflicts { tries: u32 },
    /// Two lines name the same domain.
    #[error("line {earlier} names the same domain")]
    Duplicate { earlier: usize },
    /// The host does not have the memory, and no guest is giving any back.
    #[error(
        "it needs {} MiB more, and the host has only {} MiB free for it{}",
        Mib(*needs), Mib(*free), not_counting(*keep_free, *granted)
    )]
    NoMemory { needs: Kib, free: Kib, keep_free: Kib, granted: Kib },
}

impl Cause {
    /// Whether the domain is gone or dying.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone | Self::Dying)
    }

    /// The cause's name: stable, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Resolve(ResolveError::Ambiguous { .. }) => "ambiguous-domain",
            Self::Resolve(_) => "no-such-domain",
            Self::Gone | Self::Dying => "domain-gone",
            Self::State(State::Building) => "domain-building",
            Self::Refused(_) | Self::State(_) => "refused",
            Self::BadNode(_) => "bad-node",
            Self::Lock(LockError::Busy { .. }) => "lock-busy",
            Self::Lock(_) => "lock",
            Self::LockLost => "lock-lost",
            Self::Interrupted => "interrupted",
            Self::Store(_) | Self::Commit(_) => "xenstore",
            Self::Hypervisor(_) => "hypervisor",
            Self::Intent(_) => "intent",
            Self::StateDir { .. } => "state-directory",
            Self::Conflicts { .. } => "conflicts",
            Self::Duplicate { .. } => "duplicate",
            Self::NoMemory { .. } => "no-memory",
        }
    }
}

impl From<HypervisorError> for Cause {
    fn from(error: HypervisorError) -> Self {
        match error.errno() {
            Some(Errno::SRCH) => Self::Gone,
            _ => Self::Hypervisor(error),
        }
    }
}

impl From<LockError> for Cause {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Interrupted => Self::Interrupted,
            error => Self::Lock(error),
        }
    }
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadNode(node) => Self::BadNode(node),
            refusal => Self::Refused(refusal),
        }
    }
}

impl From<ResolveError> for Cause {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Store(error) => error.into(),
            ResolveError::Hypervisor(error) => error.into(),
            error => Self::Resolve(error),
        }
    }
}

/// The state that a failure leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aftermath {
    /// Nothing was touched.
    Unchanged,
    /// The command makes no change.
    ReadOnly,
    /// The limit had been changed, and the change was rolled back.
    RolledBack {
        /// The limit now: the old one, or one that another program set meanwhile or that its target needs.
        limit: Kib,
        /// The limit before.
        before: Kib,
    },
    /// Nudging the balloon driver left the target one page off, with the limit in step.
    OnePageOff {
        /// The target.
        target: Kib,
        /// The limit.
        limit: Kib,
    },
    /// A size that this run set could not be set back: the domain keeps it.
    NotRestored {
        /// The size before the run.
        before: Kib,
        /// The size that this run set.
        size: Kib,
    },
    /// Target and limit may be out of step.
    OutOfStep {
        /// The limit that was left in place, if it is known.
        limit: Option<Kib>,
        /// What is not known, or could not be done.
        why: String,
        /// The intent record from which the next run recovers.
        intent: PathBuf,
    },
}

/// The sentence after the cause; empty if the command makes no change.
impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("nothing changed"),
            Self::ReadOnly => Ok(()),
            Self::RolledBack { limit, before } if limit == before => {
                write!(f, "rolled back; the limit is {} again", Limit(*limit))
            }
            Self::RolledBack { limit, before } => write!(
                f,
                "rolled back, but the limit is now {} (it was {}): another program set it, or the target in xenstore needs it",
                Limit(*limit),
                Limit(*before)
            ),
            Self::OnePageOff { target, .. } => write!(
                f,
                "the target is still {target}, one page off, as set to nudge the balloon driver; the limit is in step"
            ),
            Self::NotRestored { before, size } => {
                write!(f, "its old size of {before} could not be restored: it stays at {size}")
            }
            Self::OutOfStep { limit, why, .. } => {
                write!(f, "target and limit may be out of step: {why}")?;
                limit.map_or(Ok(()), |limit| write!(f, "; the limit is {} now", Limit(limit)))
            }
        }
    }
}

/// A change that failed.
#[derive(Debug)]
pub struct Failure {
    /// The domain, if it was found.
    pub domain: Option<Domain>,
    /// What stopped it.
    pub cause: Cause,
    /// The state that is left.
    pub aftermath: Aftermath,
    /// The recovery from a killed run, which stands.
    pub recovery: Option<Recovery>,
    /// The absolute value of the request, if it got so far: the size for `set`, the maximum for `max`. A relative
    /// request must be repeated with it, so that it is not applied twice.
    pub absolute: Option<Kib>,
}

impl Failure {
    /// A failure before anything was touched.
    pub fn unchanged(domain: Option<Domain>, cause: impl Into<Cause>) -> Self {
        let (cause, aftermath) = (cause.into(), Aftermath::Unchanged);
        Self { domain, cause, aftermath, recovery: None, absolute: None }
    }

    /// A failure of a command that changes nothing.
    pub fn read_only(domain: Option<Domain>, cause: impl Into<Cause>) -> Self {
        Self { aftermath: Aftermath::ReadOnly, ..Self::unchanged(domain, cause) }
    }

    /// Whether a change that this run made stands: its own, or that of its recovery.
    pub fn is_change(&self) -> bool {
        matches!(self.aftermath, Aftermath::OnePageOff { .. } | Aftermath::NotRestored { .. })
            || self.recovery.as_ref().is_some_and(|it| it.limit_change().is_some())
    }

    /// The limit before and after a recovery that was all a repair could do: it succeeded, and the plan was refused.
    pub fn recovery_alone(&self) -> Option<LimitStep> {
        let is_refused = matches!(self.cause, Cause::Refused(_) | Cause::BadNode(_));
        self.recovery.as_ref().filter(|_| is_refused).and_then(Recovery::limit_step)
    }

    /// The cause with its sources, and the state that is left.
    pub fn reason(&self) -> String {
        let cause = chain(&self.cause);
        match (&self.aftermath, &self.recovery) {
            (Aftermath::ReadOnly, _) => cause,
            (aftermath, None) => format!("{cause}; {aftermath}"),
            (Aftermath::Unchanged, Some(recovery)) => {
                format!("{cause}; nothing else changed: {recovery}")
            }
            (aftermath, Some(recovery)) => format!("{cause}; {aftermath}; {recovery}"),
        }
    }

    /// The name of the state that is left: stable, for programs. `None` if the command makes no change.
    pub const fn state(&self) -> Option<&'static str> {
        Some(match self.aftermath {
            Aftermath::Unchanged if self.recovery.is_some() => "recovered",
            Aftermath::Unchanged => "unchanged",
            Aftermath::ReadOnly => return None,
            Aftermath::RolledBack { .. } => "rolled-back",
            Aftermath::OnePageOff { .. } => "one-page-off",
            Aftermath::NotRestored { .. } => "changed",
            Aftermath::OutOfStep { .. } => "out-of-step",
        })
    }
}

/// One line: the domain, the cause with its sources, and the state that is left.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, "{domain}: ")?;
        }
        f.write_str(&self.reason())
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// An error with all its sources, outermost first.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
