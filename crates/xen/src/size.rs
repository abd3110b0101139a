//! Amounts of memory, with their unit.

use std::fmt;

/// KiB in one Xen page. Always 4, also on Arm kernels that use 64 KiB pages themselves.
pub const PAGE: Kib = Kib(4);

/// An amount of memory in KiB (1024 bytes): what xenstore's memory nodes and `XEN_DOMCTL_max_mem`
/// count in.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Kib(pub u64);

impl Kib {
    /// `pages` of 4 KiB. Saturates: 2^64 KiB is more than any machine's address space.
    pub const fn from_pages(pages: u64) -> Self {
        Self(pages.saturating_mul(PAGE.0))
    }

    /// `mib` times 1024 KiB, saturating.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1024))
    }

    /// How many whole 4 KiB pages this is, rounded down as the hypervisor does.
    pub const fn pages(self) -> u64 {
        self.0 / PAGE.0
    }

    /// How many whole MiB this is, rounded down: the unit of `/vm/<uuid>/memory`.
    pub const fn mib(self) -> u64 {
        self.0 / 1024
    }

    /// The sum, or `None` when it does not fit.
    pub const fn plus(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` when `other` is the larger.
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// This amount changed by a signed number of KiB (video memory can be -1), or `None` when the
    /// result would be negative or does not fit.
    pub const fn offset(self, kib: i64) -> Option<Self> {
        match self.0.checked_add_signed(kib) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

/// Shown in the largest binary unit that is exact: `512 MiB`, `524289 KiB`.
impl fmt::Display for Kib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing above MiB: an admin compares these numbers with xl's, which are MiB.
        if self.0 != 0 && self.0.is_multiple_of(1024) {
            write!(f, "{} MiB", self.mib())
        } else {
            write!(f, "{} KiB", self.0)
        }
    }
}

/// Shows an amount in MiB with at most one decimal, rounded down: for measured amounts. Amounts that were set are shown
/// exactly, as a [`Kib`].
#[derive(Clone, Copy, Debug)]
pub struct Mib(pub Kib);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.mib();
        match self.0.0.checked_rem(1024).unwrap_or(0).saturating_mul(10) / 1024 {
            0 => f.pad(&whole.to_string()),
            tenths => f.pad(&format!("{whole}.{tenths}")),
        }
    }
}
