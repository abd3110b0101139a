//! xenstore: reading, writing, transactions and watches.
//!
//! [`Nodes`], [`Store`] and [`Transaction`] have typed errors and are made for `dyn`. [`Client`] implements them, and also
//! xenstore-rs's [`Xs`], [`XsTransaction`] and [`XsTransactionSpan`], whose errors are [`io::Error`]s with a
//! [`StoreError`] inside.

mod client;
mod connection;
mod endpoint;
mod link;
mod wire;
mod xs;

use std::io;
use std::time::Duration;

use crate::domain::DomId;

pub use self::client::{Client, Span};
pub use xenstore_rs::{Xs, XsTransaction, XsTransactionSpan};

/// An errno in a reply from xenstored (`xen/include/public/io/xs_wire.h`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// `EAGAIN`: a transaction conflicts with another change.
    Again,
    /// `ENOENT`: no such node, or no such transaction.
    NotFound,
    /// `EACCES` or `EPERM`.
    Denied,
    /// `ENOSPC`: the domain's quota of nodes is used up.
    NoSpace,
    /// `EQUOTA`: a quota of oxenstored's is used up. libxenstore does not know the name and returns EINVAL.
    Quota,
    /// `E2BIG`: a value or a listing too long for one message.
    TooBig,
    /// `ENOSYS`: the daemon does not know the request.
    Unknown,
    /// Any other errno, by the name in the reply.
    Other(String),
}

/// Why a xenstore request failed.
///
/// xenstore-rs's traits return it inside an [`io::Error`]; [`StoreError::of`] finds it there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "`request` is the request's type and path, and the messages say what the others are"
)]
pub enum StoreError {
    /// No xenstored can be reached.
    #[error("cannot reach {daemon}")]
    Unreachable { daemon: String, source: io::Error },
    /// xenstored answered with an errno. The request had no effect, unless the errno is EIO: oxenstored answers it to
    /// internal errors, even after it has committed a transaction.
    #[error("xenstored answered {} to {request}", answer.name())]
    Answered { answer: Answer, request: String },
    /// xenstored closed the connection. It is not known whether the request took effect.
    #[error("xenstored closed the connection during {request}")]
    Closed { request: String },
    /// An earlier request broke the connection; this one was not sent and has no effect.
    #[error("{request} was not sent, since the connection to xenstored broke before: {earlier}")]
    Unusable { request: String, earlier: String },
    /// No reply arrived within the deadline. It is not known whether the request took or will take effect.
    #[error("xenstored has not answered {request} within {seconds} s")]
    Deadline { request: String, seconds: u64 },
    /// The reply breaks the protocol. The connection is closed.
    #[error("xenstored's reply to {request} breaks the protocol: {what}")]
    Garbled { request: String, what: String },
    /// The request itself cannot be sent: too long, or a NUL in a path.
    #[error("{request} cannot be sent: {what}")]
    Unsendable { request: String, what: &'static str },
    /// A read, write or poll on the connection failed. It is not known whether the request took effect.
    #[error("talking to xenstored failed during {request}")]
    Transport { request: String, source: io::Error },
}

impl StoreError {
    /// The typed error inside `error`, if a [`Client`] returned it.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether xenstored answered with the errno `answer`.
    pub fn is(&self, answer: &Answer) -> bool {
        matches!(self, Self::Answered { answer: said, .. } if said == answer)
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
            StoreError::Garbled { .. } => io::ErrorKind::InvalidData,
            StoreError::Unsendable { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl Answer {
    /// The errno called `name`.
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

    /// The nearest kind of error in the standard library.
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

/// The values of nodes, as bytes; `None` for a node that does not exist.
pub type Values = Vec<Option<Vec<u8>>>;

/// Reading and writing nodes: on a connection, or in a transaction.
///
/// The requests of one call are in flight together where the connection allows it, so that they take one round trip.
pub trait Nodes {
    /// The value of each of `paths`.
    ///
    /// # Errors
    /// The first failure other than ENOENT.
    fn read_each(&self, paths: &[&str]) -> Result<Values, StoreError>;

    /// Writes each of `nodes` (path, value). `Ok` only if every write was acknowledged.
    ///
    /// # Errors
    /// The first failure; some of the others may have been written.
    fn write_each(&self, nodes: &[(&str, &str)]) -> Result<(), StoreError>;

    /// The names of the children of `path`; `None` if it does not exist.
    ///
    /// # Errors
    /// Any failure other than ENOENT.
    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StoreError>;

    /// The names of the children of each of `paths`; `None` for one that does not exist.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn list_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<String>>>, StoreError> {
        paths.iter().map(|path| self.list(path)).collect()
    }

    /// Whether the domain `domid` may itself write any of `paths`. No domain may write a node that does not exist.
    ///
    /// # Errors
    /// The first failure other than ENOENT.
    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError>;
}

/// A connection to xenstore.
pub trait Store: Nodes + Send {
    /// Starts a transaction. Dropping it aborts it.
    ///
    /// # Errors
    /// Any failure.
    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(self.begin_beside(&[])?.0)
    }

    /// Starts a transaction and reads each of `paths` outside it, in flight together: a change of those nodes does not
    /// make the commit conflict. Dropping the transaction aborts it.
    ///
    /// # Errors
    /// The first failure other than ENOENT of a read.
    fn begin_beside(
        &self,
        paths: &[&str],
    ) -> Result<(Box<dyn Transaction + '_>, Values), StoreError>;

    /// Watches each of `paths` and everything below it, or a special watch such as `@introduceDomain`. Each watch fires once
    /// when it is set.
    ///
    /// # Errors
    /// The first failure.
    fn watch(&self, paths: &[&str]) -> Result<(), StoreError>;

    /// Removes the watches on `paths`. A path without a watch is ignored. Events that are under way still arrive.
    ///
    /// # Errors
    /// The first failure other than ENOENT.
    fn unwatch(&self, paths: &[&str]) -> Result<(), StoreError>;

    /// The paths whose watches have fired since the last call, oldest first: the newest 1024 at most. Waits for the first
    /// for `wait` at most. Sends nothing to xenstored.
    ///
    /// # Errors
    /// The connection has ended.
    fn changes(&self, wait: Duration) -> Result<Vec<String>, StoreError>;

    /// Whether further requests can succeed: `false` once the connection has ended.
    fn is_usable(&self) -> bool;
}

/// An open transaction. Dropping it aborts it.
pub trait Transaction: Nodes {
    /// Makes all its writes visible, or none.
    ///
    /// # Errors
    /// After the answer [`Answer::Again`], [`StoreError::Unusable`] and [`StoreError::Unsendable`], nothing was written. After
    /// any other error, it is not known whether the writes took or will take effect.
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests;
