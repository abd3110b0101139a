//! Why there is no sim to work on.

use std::io;
use std::path::PathBuf;

use super::fault::Fault;

/// Why the sim cannot be used, or why one of its operations failed for a reason of its own.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Something else than a folder is in the way.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// What was looked at.
        path: PathBuf,
    },
    /// Something else than a file stands where one belongs: a FIFO, a device, a link.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was looked at.
        path: PathBuf,
    },
    /// The world file is longer than any world.
    #[error("{} is too long for a world", path.display())]
    TooLong {
        /// The world file.
        path: PathBuf,
    },
    /// The folder that xmem chose by itself is a symbolic link: somebody may be setting a trap.
    #[error("{} is a symbolic link", path.display())]
    Link {
        /// What was looked at.
        path: PathBuf,
    },
    /// The folder that xmem chose by itself belongs to another user.
    #[error("{} belongs to user {owner}", path.display())]
    NotYours {
        /// What was looked at.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The folder belongs to another user, and the caller is root.
    #[error("{} belongs to user {owner}, and root works in folders of its own alone", path.display())]
    NotRoots {
        /// What was looked at.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The folder has something in it, and it is not a world.
    #[error("{} is neither empty nor a sim: it has no world.json", path.display())]
    NotAWorld {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system failed a file operation.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was to be done: `read`, `make`, `lock`.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// The world file is not JSON, or has fields that a world has not. The source says which, and
    /// at which line and column.
    #[error("cannot understand {}", path.display())]
    Broken {
        /// The world file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The world file is of another xmem.
    #[error("{} has version {found}; this xmem knows version {known}", path.display())]
    Version {
        /// The world file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The only one that this xmem reads.
        known: u64,
    },
    /// The world file has a node that no xenstore can have.
    #[error("{} has a node `{node}`: {what}", path.display())]
    BadNode {
        /// The world file.
        path: PathBuf,
        /// The node's path.
        node: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A word in `XMEM_SIM_FAULT` that means nothing.
    #[error("XMEM_SIM_FAULT: `{word}` is not one of {}", Fault::words())]
    UnknownFault {
        /// The word.
        word: String,
    },
}

impl SimError {
    /// A failure of the operating system to do `what` with `path`.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}

impl From<SimError> for io::Error {
    fn from(error: SimError) -> Self {
        match error {
            SimError::Io { ref source, .. } => Self::new(source.kind(), error),
            other => Self::other(other),
        }
    }
}
