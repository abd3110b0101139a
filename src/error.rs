//! Everything that can go wrong with a change, in one place: what it is, which exit code it has,
//! what the user can do.
//!
//! Owns the mapping from facts to exit codes and hints. The sentences about single facts stand with
//! the facts (`thiserror` in each module). Never prints.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::domain::Domain;
use crate::hypervisor::HypervisorError;
use crate::intent::IntentError;
use crate::lock::LockError;
use crate::nodes::NodesError;
use crate::plan::Refusal;
use crate::resolve::ResolveError;
use crate::settle::Earlier;
use crate::size::{Kib, Mib};
use crate::xenstore::{Answer, StoreError};

/// How a run ends: xmem's promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, or already so.
    Done = 0,
    /// Failed; nothing is changed, or it was put back.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// No such domain, or it went away.
    NoDomain = 3,
    /// Refused: a limit or a safety rule.
    Refused = 4,
    /// The lock was not to be had in time.
    Locked = 5,
    /// xenstore conflicts would not end; put back.
    Conflicts = 6,
    /// Not permitted, not a control domain, or xenstored out of reach.
    NoAccess = 7,
    /// The change stands but the guest has not got there.
    NotThere = 8,
    /// Out of step.
    OutOfStep = 9,
    /// Several domains, some of which failed.
    SomeFailed = 10,
}

impl Exit {
    /// What one run leaves with that had so many results: that of the only one, or whether all went well.
    pub fn of_all(results: &[Self]) -> Self {
        match results {
            [one] => *one,
            all if all.iter().all(|exit| *exit == Self::Done) => Self::Done,
            _ => Self::SomeFailed,
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as Self
    }
}

/// What stopped a change.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The domain was not found.
    #[error(transparent)]
    Resolve(ResolveError),
    /// It was there, and is not any more.
    #[error("the domain went away")]
    Gone,
    /// A limit or a safety rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A node with a value that makes no sense.
    #[error(transparent)]
    Nodes(NodesError),
    /// The lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lock was taken, and somebody removed its file meanwhile.
    #[error("another program removed the domain's lock file while xmem held the lock")]
    LockLost,
    /// A signal came in time.
    #[error("interrupted")]
    Interrupted,
    /// xenstore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hypervisor failed.
    #[error(transparent)]
    Hypervisor(HypervisorError),
    /// The intent could not be written or read.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// What the state folder has cannot be seen.
    #[error("cannot look into {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// Every try met somebody else's change.
    #[error("xenstore had a conflicting change each of {tries} times")]
    Conflicts {
        /// How often it was tried.
        tries: u32,
    },
    /// The same domain stands in two lines.
    #[error("line {earlier} names the same domain")]
    Twice {
        /// The first of them.
        earlier: usize,
    },
    /// The host has not got the memory, and it does not come.
    #[error("it needs {} MiB more, and the host has only {} MiB free for it", Mib(*takes), Mib(*free))]
    NoMemory {
        /// What it needs.
        takes: Kib,
        /// What there is.
        free: Kib,
    },
    /// Another failure of the operating system.
    #[error("{what}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The operating system's word.
        source: io::Error,
    },
}

impl From<HypervisorError> for Cause {
    fn from(error: HypervisorError) -> Self {
        match error.errno() {
            Some(Errno::SRCH) => Self::Gone,
            _ => Self::Hypervisor(error),
        }
    }
}

/// Every [`io::Error`] that comes through xenstore-rs's traits.
impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        match error.into_inner().map(<dyn Error + Send + Sync>::downcast::<StoreError>) {
            Some(Ok(error)) => Self::Store(*error),
            Some(Err(other)) => Self::Os { what: "xenstore", source: io::Error::new(kind, other) },
            None => Self::Os { what: "xenstore", source: kind.into() },
        }
    }
}

impl From<NodesError> for Cause {
    fn from(error: NodesError) -> Self {
        match error {
            NodesError::Store(error) => error.into(),
            error @ NodesError::NotASize { .. } => Self::Nodes(error),
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
pub enum After {
    /// Nothing was touched.
    Unchanged,
    /// Only what an earlier run left was settled.
    Settled {
        /// What that was, and what became of it.
        earlier: Earlier,
    },
    /// Nothing was to be changed.
    ReadOnly,
    /// The limit had been changed, and is again what it was.
    PutBack {
        /// The limit.
        limit: Kib,
    },
    /// The target is one page off, and the limit with it: the way back to it failed.
    Aside {
        /// The target.
        target: Kib,
    },
    /// The target in xenstore and the limit may not belong together.
    OutOfStep {
        /// The limit that was left in place.
        limit: Option<Kib>,
        /// What is not known, or could not be done.
        why: String,
        /// The intent that lets the next run settle it.
        intent: PathBuf,
    },
}

/// A change that did not come about.
#[derive(Debug)]
pub struct Failure {
    /// The domain, once it was found.
    pub domain: Option<Domain>,
    /// What stopped it.
    pub cause: Cause,
    /// What is left behind.
    pub after: After,
}

/// One line: which domain, what happened with its chain of reasons, what state things are in.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, "{domain}: ")?;
        }
        write!(f, "{}", chain(&self.cause))?;
        match &self.after {
            After::Unchanged => write!(f, "; nothing is changed"),
            After::Settled { earlier } => write!(f, "; nothing else is changed: {earlier}"),
            After::ReadOnly => Ok(()),
            After::PutBack { limit } => {
                write!(f, "; the limit was put back to {limit}, nothing is changed")
            }
            After::Aside { target } => {
                write!(
                    f,
                    "; the target is {target}, in step, where it was put to wake the guest's driver"
                )
            }
            After::OutOfStep { limit, why, .. } => {
                write!(f, "; target and limit may be out of step: {why}")?;
                limit.map_or(Ok(()), |limit| write!(f, "; the limit is {limit} now"))
            }
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// An error with all its reasons, outermost first.
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

impl Failure {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match (&self.after, &self.cause) {
            (After::OutOfStep { .. }, _) => Exit::OutOfStep,
            (_, Cause::Resolve(_) | Cause::Gone) => Exit::NoDomain,
            (_, Cause::Refused(_) | Cause::NoMemory { .. }) => Exit::Refused,
            (_, Cause::Twice { .. }) => Exit::Usage,
            (_, Cause::Lock(LockError::Busy { .. })) => Exit::Locked,
            (_, Cause::Conflicts { .. }) => Exit::Conflicts,
            (After::Unchanged | After::Settled { .. } | After::ReadOnly, cause)
                if cause.is_access() =>
            {
                Exit::NoAccess
            }
            (
                _,
                Cause::Nodes(_)
                | Cause::Lock(_)
                | Cause::LockLost
                | Cause::Interrupted
                | Cause::Store(_)
                | Cause::Hypervisor(_)
                | Cause::Intent(_)
                | Cause::Folder { .. }
                | Cause::Os { .. },
            ) => Exit::Failed,
        }
    }

    /// One word for programs: stable, unlike the sentences.
    pub const fn kind(&self) -> &'static str {
        match &self.cause {
            Cause::Resolve(ResolveError::Ambiguous { .. }) => "ambiguous-domain",
            Cause::Resolve(_) => "no-such-domain",
            Cause::Gone => "domain-gone",
            Cause::Refused(_) => "refused",
            Cause::Nodes(_) => "bad-node",
            Cause::Lock(LockError::Busy { .. }) => "lock-busy",
            Cause::Lock(_) => "lock",
            Cause::LockLost => "lock-lost",
            Cause::Interrupted => "interrupted",
            Cause::Store(_) => "xenstore",
            Cause::Hypervisor(_) => "hypervisor",
            Cause::Intent(_) => "intent",
            Cause::Folder { .. } => "state-folder",
            Cause::Conflicts { .. } => "conflicts",
            Cause::Twice { .. } => "twice",
            Cause::NoMemory { .. } => "no-memory",
            Cause::Os { .. } => "os",
        }
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        if let After::OutOfStep { intent, .. } = &self.after {
            return Some(format!(
                "run the same command again as soon as xenstored answers: the next xmem that takes this domain's lock settles what {} says",
                intent.display()
            ));
        }
        self.cause.hint()
    }
}

impl Cause {
    /// Whether it is about not getting at Xen at all.
    fn is_access(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error,
                StoreError::Unreachable { .. }
                    | StoreError::Deadline { .. }
                    | StoreError::Closed { .. }
                    | StoreError::Unusable { .. }
                    | StoreError::Transport { .. }
                    | StoreError::Answered { answer: Answer::Denied, .. }
            ),
            Self::Hypervisor(error) => match error {
                HypervisorError::NoXen { .. }
                | HypervisorError::Device { .. }
                | HypervisorError::NoPage { .. }
                | HypervisorError::UnknownInterface { .. } => true,
                HypervisorError::Refused { .. } => {
                    matches!(error.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS))
                }
            },
            Self::Lock(LockError::Os { source, .. })
            | Self::Intent(IntentError { source, .. })
            | Self::Folder { source, .. } => {
                matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
            }
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Resolve(ResolveError::NoSuchDomain { near: Some(near), .. }) => {
                return Some(format!("did you mean `{near}`?"));
            }
            Self::Resolve(ResolveError::NoSuchDomain { .. }) => {
                "`xmem list` shows the domains; names are exact, `id:7` is a domid and `name:7` a name"
            }
            Self::Resolve(ResolveError::Ambiguous { .. }) => "name it by its domid: id:7",
            Self::Refused(refusal) => return Some(refusal.hint()),
            Self::Lock(LockError::Busy { .. }) => {
                "wait longer with --lock-timeout, or see what that process is doing"
            }
            Self::Lock(LockError::Os { source, .. })
            | Self::Intent(IntentError { source, .. })
            | Self::Folder { source, .. } => return folder_hint(source.kind()),
            Self::Conflicts { .. } => {
                "another program keeps changing this domain's memory without its lock; a memory daemon (squeezed, qmemman)?"
            }
            Self::Nodes(NodesError::NotASize { path, .. }) => {
                return Some(format!(
                    "whoever wrote it is at fault; once nobody does any more: xenstore-write {path} KIB"
                ));
            }
            Self::LockLost => "run it again",
            Self::NoMemory { .. } => {
                "see `xmem list` for guests that have not given back yet, or shrink another one"
            }
            Self::Store(StoreError::Unreachable { source, .. }) => match source.kind() {
                io::ErrorKind::PermissionDenied => ROOT,
                _ => "is xenstored running? without Xen, try: xmem --host sim",
            },
            Self::Store(StoreError::Deadline { .. }) => {
                "xenstored hangs or is stopped: see its process and its log"
            }
            Self::Store(
                StoreError::Closed { .. }
                | StoreError::Unusable { .. }
                | StoreError::Transport { .. },
            ) => "is xenstored still running? see its log",
            Self::Store(StoreError::Answered {
                answer: Answer::NoSpace | Answer::Quota, ..
            }) => "xenstore's quota is used up: see `xenstore-ls` for who fills it",
            Self::Hypervisor(error) => match error {
                HypervisorError::NoXen { .. } => "without Xen, try: xmem --host sim",
                HypervisorError::NoPage { .. } => {
                    "raise the limit on locked memory: ulimit -l; or see where that device is"
                }
                HypervisorError::UnknownInterface { .. } => {
                    "a Xen that is newer than this xmem, or a FLASK policy that forbids it"
                }
                _ => match error.errno() {
                    Some(Errno::ACCESS | Errno::PERM) => ROOT,
                    Some(Errno::NOMEM) => "the host has no free memory for it: see `xl info`",
                    Some(Errno::NOTEMPTY) => {
                        "populate-on-demand memory cannot grow while a device is passed through"
                    }
                    _ => return None,
                },
            },
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What to do when the lock or the record, which are made in libxl's folder, are not to be had.
fn folder_hint(kind: io::ErrorKind) -> Option<String> {
    let hint = match kind {
        io::ErrorKind::NotFound => {
            "libxl's folder is missing: is this a Xen host with its tools installed?"
        }
        io::ErrorKind::PermissionDenied => {
            "run it as root; if that is so already, see with `ls -la` whose that file and its folder are"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount that file system writable: the domain's lock, and the record of a change, are made there"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on that file system: without a record, a change that is cut off could not be settled"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

const ROOT: &str = "run it as root, in dom0";
