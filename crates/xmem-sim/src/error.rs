//! The reasons why the sim cannot be used.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};
use xen::lock::LockError;

/// Why the sim cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SimError {
    /// xmem refuses to work in the directory.
    #[error("{} {reason}", path.display())]
    Directory { path: PathBuf, reason: String },
    /// The operating system failed a file operation.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The world file is not a world. The source names line and column.
    #[error("cannot read {}", path.display())]
    World { path: PathBuf, source: serde_json::Error },
    /// A word in an environment variable is unknown; `why` lists the known ones.
    #[error("{variable}: {why}")]
    Word { variable: &'static str, why: String },
    /// A domain's lock cannot be taken for the fault `lock-busy`.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl SimError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }

    /// Whether the caller chose a wrong directory or word. Otherwise the operating system or the world file is at
    /// fault.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Directory { .. } | Self::Word { .. })
    }

    /// The hint for it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::World { .. } => {
                Some("correct the file, or choose another directory: --host sim:DIR".to_owned())
            }
            Self::Io { action: "lock", .. } => {
                Some("another xmem on this simulated host hangs or is stopped".to_owned())
            }
            Self::Directory { .. } | Self::Io { .. } => {
                Some("choose a new or empty directory of your own: --host sim:DIR".to_owned())
            }
            Self::Word { .. } | Self::Lock(_) => None,
        }
    }
}

/// The words in the value of `variable`, separated by commas. An empty value has none.
pub(crate) fn words<'a, T: Deserialize<'a>, C: FromIterator<T>>(
    variable: &'static str,
    value: &'a str,
) -> Result<C, SimError> {
    let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let meaning = |word: &'a str| {
        let deserializer: StrDeserializer<'a, Error> = word.into_deserializer();
        T::deserialize(deserializer).map_err(|error: Error| {
            let why = error.to_string().replace("unknown variant", "unknown word");
            SimError::Word { variable, why }
        })
    };
    words.map(meaning).collect()
}
