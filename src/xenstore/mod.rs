//! xenstore, as the rest of xmem knows it: xenstore-rs's traits, and how their errors are told apart.
//!
//! Owns the seam. Never speaks to a daemon: that is the client's work.

mod client;
mod connection;
mod lookup;
mod wire;

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::domain::DomId;

pub use client::{Client, Span};
pub use wire::Event;
pub use xenstore_rs::{Xs, XsTransaction, XsTransactionSpan};

/// An errno that xenstored names in an ERROR reply (`xen/include/public/io/xs_wire.h`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `EAGAIN`: a transaction met another change.
    Again,
    /// `ENOENT`: no such node, or no such transaction.
    NotFound,
    /// `EACCES` or `EPERM`.
    Denied,
    /// `ENOSPC`: the domain has no node left.
    NoSpace,
    /// `EQUOTA`: oxenstored's word for a quota; libxenstore does not know it and says EINVAL.
    Quota,
    /// `E2BIG`: a value or a listing too long for one message.
    TooBig,
    /// `ENOSYS`: this daemon does not know the request.
    Unknown,
    /// Any other errno name, as the daemon wrote it.
    Other(String),
}

/// Why a xenstore request did not come to a good end.
///
/// Travels through xenstore-rs's traits inside [`io::Error`]; [`StoreError::of`] takes it out again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No xenstored can be reached.
    #[error("cannot reach xenstored at {}", path.display())]
    Unreachable {
        /// The socket or device that was tried.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// xenstored answered, and its answer was no. The request had no effect.
    #[error("xenstored answered {} to {request}", answer.name())]
    Answered {
        /// What it said.
        answer: Answer,
        /// The request: its kind and its path.
        request: String,
    },
    /// The connection is gone. Whether the request was carried out is not known.
    #[error("xenstored closed the connection during {request}")]
    Closed {
        /// The request: its kind and its path.
        request: String,
    },
    /// An earlier request broke the connection; this one was not sent and has no effect.
    #[error("{request} was not sent, since the connection to xenstored broke before: {earlier}")]
    Unusable {
        /// The request: its kind and its path.
        request: String,
        /// What went wrong with the earlier request.
        earlier: String,
    },
    /// No reply within the deadline. Whether the request was, or will be, carried out is not known.
    #[error("xenstored has not answered {request} within {seconds} s")]
    Deadline {
        /// The request: its kind and its path.
        request: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// The reply breaks the protocol. The connection is not used again.
    #[error("xenstored's reply to {request} breaks the protocol: {what}")]
    Garbled {
        /// The request: its kind and its path.
        request: String,
        /// What is wrong with the reply.
        what: String,
    },
    /// The value of a node, or a name in a listing, is not UTF-8.
    #[error("what xenstore has at {path} is not text")]
    NotText {
        /// The node.
        path: String,
    },
    /// The request itself cannot be sent: too long, or a NUL in a path.
    #[error("{request} cannot be sent: {what}")]
    Unsendable {
        /// The request: its kind and its path.
        request: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The operating system failed a read, write or poll on the connection. Whether the request was
    /// carried out is not known.
    #[error("talking to xenstored failed during {request}")]
    Transport {
        /// The request: its kind and its path.
        request: String,
        /// The operating system's word.
        source: io::Error,
    },
}

impl StoreError {
    /// The typed error inside `error`, if a client of ours made it.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether `error` is xenstored's own answer `answer`.
    pub fn is(error: &io::Error, answer: &Answer) -> bool {
        matches!(Self::of(error), Some(Self::Answered { answer: said, .. }) if said == answer)
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Unreachable { source, .. } | StoreError::Transport { source, .. } => {
                source.kind()
            }
            StoreError::Answered { answer, .. } => answer.kind(),
            StoreError::Closed { .. } => io::ErrorKind::ConnectionAborted,
            StoreError::Unusable { .. } => io::ErrorKind::NotConnected,
            StoreError::Deadline { .. } => io::ErrorKind::TimedOut,
            StoreError::Garbled { .. } | StoreError::NotText { .. } => io::ErrorKind::InvalidData,
            StoreError::Unsendable { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl Answer {
    /// The answer that an ERROR reply's text stands for.
    pub fn named(name: &str) -> Self {
        match name {
            "EAGAIN" => Self::Again,
            "ENOENT" => Self::NotFound,
            "EACCES" | "EPERM" => Self::Denied,
            "ENOSPC" => Self::NoSpace,
            "EQUOTA" => Self::Quota,
            "E2BIG" => Self::TooBig,
            "ENOSYS" => Self::Unknown,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The errno's name, as on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Again => "EAGAIN",
            Self::NotFound => "ENOENT",
            Self::Denied => "EACCES",
            Self::NoSpace => "ENOSPC",
            Self::Quota => "EQUOTA",
            Self::TooBig => "E2BIG",
            Self::Unknown => "ENOSYS",
            Self::Other(name) => name,
        }
    }

    /// The nearest kind of the standard library, for callers that know only [`io::Error`].
    const fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Again => io::ErrorKind::WouldBlock,
            Self::NotFound => io::ErrorKind::NotFound,
            Self::Denied => io::ErrorKind::PermissionDenied,
            Self::NoSpace => io::ErrorKind::StorageFull,
            Self::Quota => io::ErrorKind::QuotaExceeded,
            Self::TooBig => io::ErrorKind::ArgumentListTooLong,
            Self::Unknown => io::ErrorKind::Unsupported,
            Self::Other(_) => io::ErrorKind::Other,
        }
    }
}

/// Several requests at once, so that a client can have them in flight together.
///
/// The defaults send one after the other, which is always right.
pub trait Batch: Xs {
    /// Reads each of `paths`; a node that is not there is `None`.
    ///
    /// # Errors
    /// The first failure other than ENOENT.
    fn read_each(&self, paths: &[&str]) -> io::Result<Vec<Option<Box<str>>>> {
        paths
            .iter()
            .map(|path| match self.read(path) {
                Ok(value) => Ok(Some(value)),
                Err(error) if StoreError::is(&error, &Answer::NotFound) => Ok(None),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Writes each of `nodes` (path, value). `Ok` only when every one was acknowledged.
    ///
    /// # Errors
    /// The first failure; some of the others may have been written.
    fn write_each(&self, nodes: &[(&str, &str)]) -> io::Result<()> {
        nodes.iter().try_for_each(|(path, value)| self.write(path, value))
    }

    /// Whether the domain `domid` may write any of `paths` itself. Without an implementation the store knows
    /// no owners, and everything in it is its toolstack's.
    ///
    /// # Errors
    /// The first failure other than ENOENT.
    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> io::Result<bool> {
        let _ = (domid, paths);
        Ok(false)
    }

    /// Whether there is any use in asking it for more: `false` once the connection is known to be over.
    fn is_usable(&self) -> bool {
        true
    }
}

/// Being told when a node changes. The defaults are for a store that tells nobody.
pub trait Watching {
    /// Asks to be told of changes at and below `path` (or one of xenstored's own words, such as
    /// `@introduceDomain`). Every watch fires once at the start. `false`: this store tells nobody.
    ///
    /// # Errors
    /// The store does not take the watch.
    fn watch(&self, path: &str) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }

    /// Waits until a watch fires or `limit` is over, and returns the paths that changed; none if it was
    /// the time.
    ///
    /// # Errors
    /// The connection is over.
    fn wait(&self, limit: Duration) -> io::Result<Vec<Box<str>>> {
        thread::sleep(limit);
        Ok(Vec::new())
    }
}

/// A connection to a xenstore, as the change needs it. Dropping it aborts its open transactions.
pub trait Store: XsTransaction<Span: StoreSpan> + Batch + Watching {}
impl<T: XsTransaction<Span: StoreSpan> + Batch + Watching> Store for T {}

/// An open transaction of a [`Store`]. Dropping it aborts it.
pub trait StoreSpan: XsTransactionSpan + Batch {}
impl<T: XsTransactionSpan + Batch> StoreSpan for T {}

#[cfg(test)]
mod tests;
