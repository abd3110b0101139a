//! The intent record: what a change is about to do, on disk while it does it, for whoever comes after a kill.

use std::io;
use std::path::PathBuf;

/// Why an intent record cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct IntentError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}
