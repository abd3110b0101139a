//! The file that `apply` takes: lines of `DOMAIN SIZE`, or those of `list --json`. Pure.

use crate::domain::DomainRef;
use crate::size::Size;
use xen::Kib;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands: 1 is the first line.
    pub number: usize,
    /// Of which domain.
    pub domain: DomainRef,
    /// To what.
    pub to: Wanted,
}

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A size, video memory included.
    Size(Size),
    /// A target, video memory not included.
    Target(Kib),
}
