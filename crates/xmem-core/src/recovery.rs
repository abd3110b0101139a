//! Completing or rolling back what a killed run left. Pure.

use std::path::PathBuf;

use xen::Kib;

/// What a killed run left, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// It was committed: the limit was completed to this.
    Completed(Kib),
    /// It was not committed: the limit was rolled back to this.
    RolledBack(Kib),
    /// Somebody has set the memory since: the record was dropped, and the limit is this.
    Superseded(Kib),
    /// A record that this xmem does not understand was moved out of the way.
    SetAside {
        /// Where it is now.
        path: PathBuf,
        /// Why it is not understood.
        why: String,
    },
    /// A record was left alone: this was a dry run.
    Pending(PathBuf),
}
