//! The name that a user may have meant.

use crate::domain::Name;

/// Common names for dom0 that are not its name.
const DOM0_ALIASES: [&str; 4] = ["dom0", "domain0", "dom-0", "domain-0"];

/// The one of `names` that differs from `wanted` only in case, or else in one letter. Of several, one whose case is right
/// goes first. `dom0` is the control domain's name.
pub(super) fn similar<'a>(
    wanted: &Name,
    names: impl Iterator<Item = &'a Name>,
    dom0: Option<&'a Name>,
) -> Option<&'a Name> {
    let lower = wanted.0.to_lowercase();
    if DOM0_ALIASES.contains(&lower.as_str()) && dom0.is_some() {
        return dom0;
    }
    let distance = |name: &Name| {
        let other = name.0.to_lowercase();
        let is_other_word = other != lower;
        let is_near = !is_other_word || is_one_letter_off(&lower, &other);
        is_near.then(|| (is_other_word, !is_one_letter_off(&wanted.0, &name.0)))
    };
    let near = names.filter_map(|name| Some((distance(name)?, name)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Whether `a` and `b` differ in one letter: replaced, missing, additional, or two swapped. Words of one letter are never
/// similar.
pub fn is_one_letter_off(a: &str, b: &str) -> bool {
    let [a, b] = [a, b].map(|word| word.chars().collect::<Vec<char>>());
    if a.len().max(b.len()) < 2 {
        return false;
    }
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (Some(a), Some(b)) = (a.get(same..), b.get(same..)) else { return false };
    match (a, b) {
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([_, a @ ..], b) if a == b => true,
        (a, [_, b @ ..]) if a == b => true,
        ([a0, a1, a @ ..], [b0, b1, b @ ..]) => a0 == b1 && a1 == b0 && a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_letter_is_similar() {
        let names = ["web", "db", "Domain-0", "mail"].map(|name| Name(name.to_owned()));
        let near = |wanted: &str| {
            let found = similar(&Name(wanted.to_owned()), names.iter(), names.get(2));
            found.map(|name| name.0.as_str())
        };
        for (wanted, expected) in [
            ("Web", Some("web")),
            ("WEB", Some("web")),
            ("webb", Some("web")),
            ("wbe", Some("web")),
            ("wen", Some("web")),
            ("we", Some("web")),
            ("dbb", Some("db")),
            ("nail", Some("mail")),
            ("mai", Some("mail")),
            ("maill", Some("mail")),
            ("dom0", Some("Domain-0")),
            ("Dom0", Some("Domain-0")),
            ("domain-0", Some("Domain-0")),
            ("Domain0", Some("Domain-0")),
            ("mial1", None),
            ("cache", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(near(wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn of_several_names_the_nearest_is_meant() {
        let names = ["WEB", "Web", "web", "web2"].map(|name| Name(name.to_owned()));
        for (wanted, expected) in [
            ("wbe", "web"),
            ("we", "web"),
            ("Wbe", "Web"),
            ("weB", "web"),
            ("WeB", "WEB"),
            ("web3", "web"),
            ("web22", "web2"),
            ("WEB2", "web2"),
        ] {
            let found = similar(&Name(wanted.to_owned()), names.iter(), None);
            assert_eq!(found.map(|name| name.0.as_str()), Some(expected), "{wanted}");
        }
    }

    #[test]
    fn names_of_one_letter_are_not_similar() {
        let names = [Name("a".to_owned())];
        assert_eq!(similar(&Name("b".to_owned()), names.iter(), None), None);
    }
}
