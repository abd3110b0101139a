//! The division of the memory among the guests. Pure.

use xen::Kib;

/// The order in which guests give memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Every guest gives the same fraction of what it can spare. The default: a floor is an estimate, so no guest is
    /// taken down to it while another still has memory to spare.
    #[default]
    Even,
    /// The first guest gives all it can, then the next.
    Order,
}

/// The share of each guest, in whole MiB. The sum is `need` rounded up, or all of `spares` if that is less. Fractions
/// of a MiB in `spares` are not used.
pub(super) fn shares(need: Kib, spares: &[Kib], priority: Priority) -> Vec<Kib> {
    let spares: Vec<u128> = spares.iter().map(|spare| spare.mib().into()).collect();
    let total = spares.iter().fold(0, |sum: u128, spare| sum.saturating_add(*spare));
    let need = u128::from(need.0.div_ceil(1024)).min(total);
    // The sum of the shares up to a guest. Rounding sums keeps each share within 1 MiB of the exact one.
    let up_to = |spare: u128| match priority {
        Priority::Order => spare.min(need),
        Priority::Even => need.saturating_mul(spare).checked_div(total).map_or(0, |whole| {
            let exact = whole.checked_mul(total) == Some(need.saturating_mul(spare));
            if exact { whole } else { whole.saturating_add(1) }
        }),
    };
    let mut sum = 0_u128;
    let share = |spare: &u128| {
        let before = up_to(sum);
        sum = sum.saturating_add(*spare);
        let mib = up_to(sum).saturating_sub(before);
        Kib::from_mib(u64::try_from(mib).unwrap_or(u64::MAX))
    };
    spares.iter().map(share).collect()
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mib(sizes: &[u64]) -> Vec<Kib> {
        sizes.iter().map(|size| Kib::from_mib(*size)).collect()
    }

    #[test]
    fn in_order_the_first_gives_all_it_can() {
        let share =
            |need, spares: &[u64]| shares(Kib::from_mib(need), &mib(spares), Priority::Order);
        assert_eq!(share(600, &[512, 0, 1024]), mib(&[512, 0, 88]));
        assert_eq!(share(0, &[512]), mib(&[0]));
        assert_eq!(share(9999, &[512, 1]), mib(&[512, 1]));
        assert_eq!(share(1, &[]), []);
    }

    #[test]
    fn evenly_each_gives_the_same_fraction_of_its_spare() {
        let share =
            |need, spares: &[u64]| shares(Kib::from_mib(need), &mib(spares), Priority::Even);
        assert_eq!(share(600, &[400, 0, 800]), mib(&[200, 0, 400]));
        assert_eq!(share(1, &[400, 800]), mib(&[1, 0]));
        assert_eq!(share(1200, &[400, 800]), mib(&[400, 800]));
        assert_eq!(share(9999, &[400, 800]), mib(&[400, 800]));
        assert_eq!(shares(Kib(1), &mib(&[4]), Priority::Even), mib(&[1]));
        assert_eq!(shares(Kib(1), &[Kib(1023)], Priority::Even), mib(&[0]));
    }

    fn spares() -> impl Strategy<Value = Vec<Kib>> {
        let spare = prop_oneof![Just(0), 0..5000_u64, 0..1_u64 << 32, Just(u64::MAX)];
        prop::collection::vec(spare.prop_map(Kib), 0..8)
    }

    proptest! {
        #[test]
        fn no_share_exceeds_its_spare_and_the_sum_is_what_is_needed(
            need in prop_oneof![0..10_000_u64, 0..1_u64 << 34],
            spares in spares(),
            even: bool,
        ) {
            let priority = if even { Priority::Even } else { Priority::Order };
            let shares = shares(Kib(need), &spares, priority);
            prop_assert_eq!(shares.len(), spares.len());
            for (share, spare) in shares.iter().zip(&spares) {
                prop_assert!(share <= spare, "{share} of {spare}");
            }
            let sum = |sizes: &[Kib]| sizes.iter().map(|kib| u128::from(kib.mib())).sum::<u128>();
            prop_assert_eq!(sum(&shares), u128::from(need.div_ceil(1024)).min(sum(&spares)));
        }

        #[test]
        fn even_shares_are_within_one_mib_of_the_same_fraction(
            need in 0..100_000_u64,
            spares in prop::collection::vec(0..50_000_u64, 1..8),
        ) {
            let total: u64 = spares.iter().sum();
            prop_assume!(need <= total && total > 0);
            for (share, spare) in shares(Kib::from_mib(need), &mib(&spares), Priority::Even).iter().zip(&spares) {
                // |share - need * spare / total| < 1
                prop_assert!((share.mib() * total).abs_diff(need * spare) < total, "{share} of {spare}");
            }
        }

        #[test]
        fn in_order_a_guest_gives_only_after_the_earlier_ones_gave_all(
            need in 0..100_000_u64,
            spares in prop::collection::vec(0..50_000_u64, 1..8),
        ) {
            let shares = shares(Kib::from_mib(need), &mib(&spares), Priority::Order);
            for (index, share) in shares.iter().enumerate() {
                if share.0 > 0 {
                    prop_assert_eq!(&shares[..index], &mib(&spares)[..index]);
                }
            }
        }
    }
}
