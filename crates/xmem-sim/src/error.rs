//! Why the sim cannot be used.

use std::io;
use std::path::PathBuf;

use crate::fault::{FAULT_VARIABLE, Faults};
use crate::start::WORLD_VARIABLE;

/// Why the sim cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// Something else stands where the directory belongs.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The default directory is a symbolic link: it could lead anywhere.
    #[error("{} is a symbolic link", path.display())]
    Link {
        /// The directory.
        path: PathBuf,
    },
    /// The default directory, or, for root, any directory, belongs to another user.
    #[error("{} belongs to user {owner}", path.display())]
    NotYours {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// The directory holds something else than a sim.
    #[error("{} is neither empty nor a sim: it has no world.json", path.display())]
    NotASim {
        /// The directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `create`, `lock`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The lock of a domain cannot be taken, for the fault `lock-busy`.
    #[error(transparent)]
    Lock(#[from] xen::lock::LockError),
    /// The world file is not a world. The source names line and column.
    #[error("cannot read {}", path.display())]
    BadWorld {
        /// The world file.
        path: PathBuf,
        /// The first thing wrong with it.
        source: serde_json::Error,
    },
    /// The world file is longer than any world.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The world file.
        path: PathBuf,
        /// The longest that is read.
        limit: u64,
    },
    /// The world file is of another version of xmem.
    #[error("{} has version {found}; this xmem reads version {known}", path.display())]
    Version {
        /// The world file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that this xmem reads.
        known: u64,
    },
    /// An unknown word in `XMEM_SIM_FAULT`.
    #[error("{FAULT_VARIABLE}: `{word}` is not one of {}", Faults::words())]
    UnknownFault {
        /// The word.
        word: String,
    },
    /// An unknown word in `XMEM_SIM_WORLD`.
    #[error("{WORLD_VARIABLE}: `{word}` is not one of start, states")]
    UnknownWorld {
        /// The word.
        word: String,
    },
}

impl SimError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }

    /// Whether the caller asked for something wrong, rather than the operating system having failed.
    pub const fn is_usage(&self) -> bool {
        !matches!(
            self,
            Self::Io { .. } | Self::Lock(_) | Self::BadWorld { .. } | Self::TooLong { .. }
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadWorld { path, .. }
            | Self::TooLong { path, .. }
            | Self::Version { path, .. } => {
                let dir = path.parent().unwrap_or(path);
                Some(format!("remove {} to start anew", dir.display()))
            }
            Self::NotADirectory { .. }
            | Self::Link { .. }
            | Self::NotYours { .. }
            | Self::NotASim { .. } => {
                Some("choose an empty or new directory of your own: --host sim:DIR".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(
                "free some space there, or choose another directory: --host sim:DIR".to_owned(),
            ),
            Self::Io { .. } | Self::Lock(_) => {
                Some("the sim needs a directory that it can write: --host sim:DIR".to_owned())
            }
            Self::UnknownFault { .. } | Self::UnknownWorld { .. } => None,
        }
    }
}
