//! Amounts of memory with their unit.
//!
//! ```
//! use xen::{Kib, Mib};
//!
//! let size = Kib::from_mib(512);
//! assert_eq!((size.pages(), size.to_string()), (131_072, "512 MiB".to_owned()));
//! assert_eq!(Mib(Kib(522_984)).to_string(), "510.7");
//! ```

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

    /// The number of whole 4 KiB pages, rounded down as the hypervisor does.
    pub const fn pages(self) -> u64 {
        self.0 / PAGE.0
    }

    /// Rounded up to whole pages, saturating.
    #[must_use]
    pub const fn in_whole_pages(self) -> Self {
        Self::from_pages(self.0.div_ceil(PAGE.0))
    }

    /// The number of whole MiB, rounded down: the unit of `/vm/<uuid>/memory`.
    pub const fn mib(self) -> u64 {
        self.0 / 1024
    }

    /// The sum, or `None` if it does not fit.
    pub const fn plus(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` if `other` is larger.
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// The sum with a signed number of KiB, as `memory/videoram` can be -1; `None` if it is negative or does not fit.
    pub const fn offset(self, kib: i64) -> Option<Self> {
        match self.0.checked_add_signed(kib) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

/// In MiB if that is exact, else in KiB: `512 MiB`, `524289 KiB`.
impl fmt::Display for Kib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never GiB: an admin compares these numbers with xl's, which are MiB.
        if self.0 != 0 && self.0.is_multiple_of(1024) {
            write!(f, "{} MiB", self.mib())
        } else {
            write!(f, "{} KiB", self.0)
        }
    }
}

/// Displays an amount in MiB with at most one decimal, rounded down: for measured amounts. For exact amounts, display
/// the [`Kib`].
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_is_displayed_in_mib_if_exact() {
        assert_eq!(Kib(524_288).to_string(), "512 MiB");
        assert_eq!(Kib(524_289).to_string(), "524289 KiB");
        assert_eq!(Kib(0).to_string(), "0 KiB");
        assert_eq!(Kib(17_179_869_180).to_string(), "17179869180 KiB");
    }

    #[test]
    fn a_measured_amount_has_at_most_one_decimal() {
        for (kib, text) in [(1024, "1"), (1023, "0.9"), (522_984, "510.7"), (1025, "1")] {
            assert_eq!(Mib(Kib(kib)).to_string(), text);
        }
        assert_eq!(format!("{:>6}", Mib(Kib(1024))), "     1");
    }

    #[test]
    fn json_is_a_plain_number() {
        let number = serde::de::value::U64Deserializer::<serde::de::value::Error>::new(512);
        assert_eq!(<Kib as serde::Deserialize>::deserialize(number), Ok(Kib(512)));
    }

    proptest! {
        #[test]
        fn pages_are_rounded_down(kib in any::<u64>()) {
            let pages = Kib(kib).pages();
            prop_assert!(Kib::from_pages(pages) <= Kib(kib));
            prop_assert!(u128::from(kib) < u128::from(pages).saturating_add(1).saturating_mul(4));
            let up = Kib(kib).in_whole_pages();
            prop_assert!(up >= Kib(kib) && (up.pages() == pages || up.pages() == pages.saturating_add(1)));
        }

        #[test]
        fn sums_never_wrap(one in any::<u64>(), other in any::<u64>(), signed in any::<i64>()) {
            prop_assert_eq!(Kib(one).plus(Kib(other)).map(|sum| sum.0), one.checked_add(other));
            prop_assert_eq!(Kib(one).minus(Kib(other)).map(|rest| rest.0), one.checked_sub(other));
            let exact = i128::from(one).checked_add(i128::from(signed)).and_then(|sum| u64::try_from(sum).ok());
            prop_assert_eq!(Kib(one).offset(signed).map(|sum| sum.0), exact);
        }

        #[test]
        fn conversions_saturate(number in any::<u64>()) {
            prop_assert_eq!(Kib::from_mib(number).0, number.saturating_mul(1024));
            prop_assert_eq!(Kib::from_pages(number).0, number.saturating_mul(4));
        }
    }
}
