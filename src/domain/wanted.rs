//! Which of many domains are meant by which of many words.
//!
//! Owns that comparison: each of both is looked at once, and not each with each.

use std::collections::HashSet;

use super::{Domain, DomainRef};

/// The domains that were asked for. If none was, all are.
#[derive(Debug)]
pub struct Wanted<'a> {
    words: &'a [DomainRef],
    set: HashSet<&'a DomainRef>,
}

impl<'a> Wanted<'a> {
    /// Those that are meant by `words`.
    pub fn by(words: &'a [DomainRef]) -> Self {
        Self { words, set: words.iter().collect() }
    }

    /// Whether `domain` is one of them.
    pub fn has(&self, domain: &Domain) -> bool {
        self.words.is_empty() || calls(domain).any(|call| self.set.contains(&call))
    }

    /// The words that mean none of `domains`.
    pub fn missing<'d>(&self, domains: impl Iterator<Item = &'d Domain>) -> Vec<&'a DomainRef> {
        let mut missing = self.set.clone();
        for call in domains.flat_map(calls) {
            missing.remove(&call);
        }
        self.words.iter().filter(|word| missing.contains(word)).collect()
    }
}

/// All that `domain` is called.
fn calls(domain: &Domain) -> impl Iterator<Item = DomainRef> {
    let identity = domain.identity;
    let name = domain.name.clone().map(DomainRef::Name);
    let others =
        [DomainRef::Id(identity.domid), DomainRef::Uuid(identity.uuid), DomainRef::Same(identity)];
    others.into_iter().chain(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DomId, Identity, Name, Uuid};

    fn domain(number: u8, name: Option<&str>) -> Domain {
        let domid = DomId::new(number.into()).unwrap();
        let identity = Identity { domid, uuid: Uuid([number; 16]) };
        Domain { identity, name: name.map(|name| Name(name.to_owned())) }
    }

    #[test]
    fn by_whatever_they_are_called() {
        let domains = [domain(1, Some("web")), domain(2, Some("web")), domain(3, None)];
        let which = |words: &[&str]| -> (Vec<u16>, Vec<String>) {
            let words: Vec<DomainRef> = words.iter().map(|word| word.parse().unwrap()).collect();
            let wanted = Wanted::by(&words);
            let has = domains.iter().filter(|domain| wanted.has(domain));
            let missing = wanted.missing(domains.iter());
            let missing = missing.into_iter().map(ToString::to_string).collect();
            (has.map(|domain| domain.identity.domid.get()).collect(), missing)
        };
        let none = Vec::<String>::new;
        assert_eq!(which(&[]), (vec![1, 2, 3], none()));
        assert_eq!(which(&["web"]), (vec![1, 2], none()));
        assert_eq!(which(&["3", "name:1"]), (vec![3], vec!["`1`".to_owned()]));
        assert_eq!(which(&["Web", "4", "Web"]).0, [0_u16; 0]);
        assert_eq!(which(&["Web", "4", "Web"]).1, ["`Web`", "domain 4", "`Web`"]);
        assert_eq!(which(&["02020202-0202-0202-0202-020202020202"]), (vec![2], none()));
        let same = [DomainRef::Same(domain(3, None).identity)];
        assert!(Wanted::by(&same).has(&domains[2]) && !Wanted::by(&same).has(&domains[1]));
    }
}
