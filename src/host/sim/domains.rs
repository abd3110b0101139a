//! The hypervisor's domains, and what is known of them as a whole.
//!
//! Owns the sums over all domains, which of them an action has touched, and which may be moving: each kept as
//! domains change, so that nobody has to look at all of them. Never knows how a balloon moves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::world::{Number, SimDomain};

/// All domains by domid. Read as a map is; changed only by what is here.
#[derive(Clone, Debug)]
pub(super) struct Domains {
    all: BTreeMap<Number, SimDomain>,
    /// What each was that has been touched since the changes were last taken.
    was: BTreeMap<Number, SimDomain>,
    /// What all held and had claimed then.
    sums: Sums,
    /// Those of which it has not been found that they rest.
    unrest: BTreeSet<Number>,
}

/// What domains hold and have claimed, in KiB. It cannot overflow: 64 bits each, of 32,752 domains at most.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    held: u128,
    claimed: u128,
}

impl Sums {
    fn add(&mut self, domain: &SimDomain) {
        self.held = self.held.saturating_add(domain.current_kib.0.into());
        self.claimed = self.claimed.saturating_add(domain.outstanding_kib.0.into());
    }

    fn remove(&mut self, domain: &SimDomain) {
        self.held = self.held.saturating_sub(domain.current_kib.0.into());
        self.claimed = self.claimed.saturating_sub(domain.outstanding_kib.0.into());
    }
}

impl Domains {
    pub(super) fn new(all: BTreeMap<Number, SimDomain>) -> Self {
        let mut sums = Sums::default();
        for domain in all.values() {
            sums.add(domain);
        }
        let unrest = all.keys().copied().collect();
        Self { all, was: BTreeMap::new(), sums, unrest }
    }

    /// A domain, to be changed.
    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut SimDomain> {
        let domain = self.all.get_mut(&number)?;
        self.was.entry(number).or_insert_with(|| domain.clone());
        self.unrest.insert(number);
        Some(domain)
    }

    /// What all hold, in KiB.
    pub(super) fn held(&self) -> u128 {
        self.sums().held
    }

    /// What is claimed for those that are being built, in KiB.
    pub(super) fn claimed(&self) -> u128 {
        self.sums().claimed
    }

    fn sums(&self) -> Sums {
        let mut sums = self.sums;
        for (number, was) in &self.was {
            if let Some(domain) = self.all.get(number) {
                // In this order, so that no difference is less than nothing.
                sums.add(domain);
                sums.remove(was);
            }
        }
        sums
    }

    /// Those that may be moving.
    pub(super) const fn unrest(&self) -> &BTreeSet<Number> {
        &self.unrest
    }

    /// This one may be moving from now on.
    pub(super) fn stir(&mut self, number: Number) {
        if self.all.contains_key(&number) {
            self.unrest.insert(number);
        }
    }

    /// This one rests until it is touched.
    pub(super) fn rests(&mut self, number: Number) {
        self.unrest.remove(&number);
    }

    /// Those that were touched since the changes were last taken.
    pub(super) fn touched(&self) -> impl Iterator<Item = Number> {
        self.was.keys().copied()
    }

    /// Those that have changed since this was last called, as they are now.
    pub(super) fn take_changed(&mut self) -> BTreeMap<Number, SimDomain> {
        self.sums = self.sums();
        let touched = std::mem::take(&mut self.was).into_iter();
        let changed = touched.filter_map(|(number, was)| {
            let domain = self.all.get(&number)?;
            (*domain != was).then(|| (number, domain.clone()))
        });
        changed.collect()
    }

    /// Makes a domain what somebody else has made it.
    pub(super) fn put(&mut self, number: Number, domain: SimDomain) {
        self.sums.add(&domain);
        if let Some(was) = self.all.insert(number, domain) {
            self.sums.remove(&was);
        }
        self.unrest.insert(number);
    }
}

impl Deref for Domains {
    type Target = BTreeMap<Number, SimDomain>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

/// The same domains; what is known of them beside follows from them.
impl PartialEq for Domains {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Domains {}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;
    use crate::domain::DomId;
    use crate::size::Kib;

    fn number(domid: u32) -> Number {
        Number(DomId::new(domid).unwrap())
    }

    /// What the sums are when all domains are looked at.
    fn counted(domains: &Domains) -> (u128, u128) {
        let fresh = Domains::new(domains.all.clone());
        (fresh.held(), fresh.claimed())
    }

    #[test]
    fn the_sums_are_right_at_every_moment() {
        let mut domains = start::world().domains;
        let right = |domains: &Domains| {
            assert_eq!((domains.held(), domains.claimed()), counted(domains));
        };
        right(&domains);
        for (domid, kib) in [(7, 4), (8, u64::MAX), (7, u64::MAX), (7, 0), (9, 12)] {
            domains.get_mut(number(domid)).unwrap().current_kib = Kib(kib);
            right(&domains);
            domains.get_mut(number(domid)).unwrap().outstanding_kib = Kib(kib);
            right(&domains);
        }
        domains.take_changed();
        right(&domains);
        let web = SimDomain { current_kib: Kib(64), ..domains[&number(7)].clone() };
        domains.put(number(7), web.clone());
        domains.put(number(17), web);
        right(&domains);
    }

    #[test]
    fn what_is_touched_and_left_the_same_has_not_changed() {
        let mut domains = start::world().domains;
        domains.get_mut(number(7)).unwrap();
        domains.get_mut(number(8)).unwrap().current_kib = Kib(4);
        assert_eq!(domains.touched().collect::<Vec<_>>(), [number(7), number(8)]);
        assert_eq!(domains.take_changed().into_keys().collect::<Vec<_>>(), [number(8)]);
        assert_eq!((domains.touched().count(), domains.take_changed().len()), (0, 0));
        assert_eq!(domains.get_mut(number(17)), None);
    }

    #[test]
    fn whoever_is_touched_may_be_moving() {
        let mut domains = start::world().domains;
        assert_eq!(domains.unrest().len(), 4, "nobody knows yet");
        for domid in [0, 7, 8, 9] {
            domains.rests(number(domid));
        }
        domains.get_mut(number(7)).unwrap();
        domains.put(number(8), domains[&number(8)].clone());
        domains.stir(number(9));
        domains.stir(number(17));
        let expected = [7, 8, 9].map(number);
        assert_eq!(domains.unrest().iter().copied().collect::<Vec<_>>(), expected);
    }
}
