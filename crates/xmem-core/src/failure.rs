//! A change, or a look, that failed: the cause, the domain, and the state that is left.

use std::io;
use std::path::PathBuf;

use xen::Kib;
use xen::hypervisor::HypervisorError;
use xen::lock::LockError;
use xen::xenstore::StoreError;

use crate::domain::Domain;
use crate::intent::IntentError;
use crate::memory::BadNode;
use crate::plan::Refusal;
use crate::recovery::Recovery;
use crate::resolve::ResolveError;
use crate::state::State;

/// What stopped a change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The domain was not found.
    #[error(transparent)]
    Resolve(ResolveError),
    /// The domain was there, and is not any more.
    #[error("the domain went away")]
    Gone,
    /// The domain's state allows no change.
    #[error("the domain is {}", .0.word())]
    State(State),
    /// A limit or a safety rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A node with a value that makes no sense.
    #[error(transparent)]
    BadNode(#[from] BadNode),
    /// The lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lock was taken, and its file was removed by another program.
    #[error("another program removed the domain's lock file while xmem held the lock")]
    LockLost,
    /// The caller interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// xenstore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hypervisor failed.
    #[error(transparent)]
    Hypervisor(HypervisorError),
    /// The intent record could not be written or read.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// libxl's state directory cannot be read.
    #[error("cannot read the directory {}", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Every try met another client's change.
    #[error("gave up after {tries} conflicting xenstore transactions")]
    Conflicts {
        /// How often it was tried.
        tries: u32,
    },
    /// The same domain stands in two lines.
    #[error("line {earlier} names the same domain")]
    Duplicate {
        /// The first of them.
        earlier: usize,
    },
    /// The host does not have the memory, and none is coming.
    #[error("it needs {} MiB more, and the host has only {} MiB free for it", xen::Mib(*needs), xen::Mib(*free))]
    NoMemory {
        /// What it needs.
        needs: Kib,
        /// What there is.
        free: Kib,
    },
}

/// The state that a failure leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aftermath {
    /// Nothing was touched.
    Unchanged,
    /// Only what a killed run left was completed or rolled back.
    Recovered(Recovery),
    /// Nothing was to be changed.
    ReadOnly,
    /// The limit had been changed, and is now this: what it was, or what another program set meanwhile.
    RolledBack {
        /// The limit.
        limit: Kib,
    },
    /// Waking the guest's driver left the target one page off, with the limit in step.
    OnePageOff {
        /// The target.
        target: Kib,
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

/// A change that failed.
#[derive(Debug)]
pub struct Failure {
    /// The domain, if it was found.
    pub domain: Option<Domain>,
    /// What stopped it.
    pub cause: Cause,
    /// What is left behind.
    pub aftermath: Aftermath,
}
