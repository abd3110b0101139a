//! The reasons why the sim cannot be used.

use std::path::PathBuf;
use std::{env, io};

use serde::de::DeserializeOwned;
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
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::World { .. } => "correct the file, or choose another directory: --host sim:DIR",
            Self::Io { action: "lock", .. } => {
                "another xmem on this simulated host hangs or is stopped"
            }
            Self::Directory { .. } | Self::Io { .. } => {
                "choose a new or empty directory of your own: --host sim:DIR"
            }
            Self::Word { .. } | Self::Lock(_) => return None,
        })
    }
}

/// The words in the environment variable `variable`. Unset and empty mean none.
pub(crate) fn words_in_env<T: DeserializeOwned, C: FromIterator<T>>(
    variable: &'static str,
) -> Result<C, SimError> {
    words(variable, &env::var_os(variable).unwrap_or_default().to_string_lossy())
}

/// The words in `value`, the value of `variable`, separated by commas.
pub(crate) fn words<T: DeserializeOwned, C: FromIterator<T>>(
    variable: &'static str,
    value: &str,
) -> Result<C, SimError> {
    let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let meaning = |word| {
        T::deserialize(StrDeserializer::<Error>::new(word)).map_err(|error| {
            let why = error.to_string().replace("unknown variant", "unknown word");
            SimError::Word { variable, why }
        })
    };
    words.map(meaning).collect()
}
