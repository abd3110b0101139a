//! An ordered map that can be copied for nothing: a copy shares all that is the same.
//!
//! Owns the shape: a randomised binary search tree (Martínez and Roura, Journal of the ACM 45(2)), in which
//! every entry is as likely to be the root as any other, in whatever order they came. A change copies the way
//! to what it changes, and only where another map shares it. Never knows what it maps to.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The map, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct Map<V>(Option<Arc<Entry<V>>>);

#[derive(Clone, Debug)]
struct Entry<V> {
    key: String,
    value: V,
    /// How many entries there are from here on down.
    size: usize,
    left: Map<V>,
    right: Map<V>,
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V> Map<V> {
    fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |entry| entry.size)
    }

    /// What `key` stands for.
    pub(super) fn get(&self, key: &str) -> Option<&V> {
        let mut map = self;
        loop {
            let entry = map.0.as_ref()?;
            map = match key.cmp(&entry.key) {
                std::cmp::Ordering::Less => &entry.left,
                std::cmp::Ordering::Equal => return Some(&entry.value),
                std::cmp::Ordering::Greater => &entry.right,
            };
        }
    }

    /// Every key from `key` on, with what it stands for.
    pub(super) fn starting_at(&self, key: &str) -> Iter<'_, V> {
        let (mut iter, mut map) = (Iter(Vec::new()), self);
        while let Some(entry) = &map.0 {
            map = if *key <= *entry.key {
                iter.0.push(entry);
                &entry.left
            } else {
                &entry.right
            };
        }
        iter
    }

    /// The next `count` of `entries`, which come in order, as evenly as can be.
    fn built(entries: &mut impl Iterator<Item = (String, V)>, count: usize) -> Self {
        if count == 0 {
            return Self::default();
        }
        let left = Self::built(entries, count / 2);
        let Some((key, value)) = entries.next() else { return left };
        let right = Self::built(entries, count.saturating_sub(count / 2).saturating_sub(1));
        Entry { key, value, size: 0, left, right }.counted()
    }
}

impl<V: Clone> Map<V> {
    /// The same to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        // Nothing is copied on the way to nothing.
        self.get(key)?;
        let mut map = self;
        loop {
            let entry = Arc::make_mut(map.0.as_mut()?);
            map = match key.cmp(&entry.key) {
                std::cmp::Ordering::Less => &mut entry.left,
                std::cmp::Ordering::Equal => return Some(&mut entry.value),
                std::cmp::Ordering::Greater => &mut entry.right,
            };
        }
    }

    /// From now on `key` stands for `value`.
    pub(super) fn insert(&mut self, key: String, value: V) {
        match self.get_mut(&key) {
            Some(old) => *old = value,
            None => self.add(key, value),
        }
    }

    /// Adds what is not there yet.
    fn add(&mut self, key: String, value: V) {
        match &mut self.0 {
            Some(entry) if fastrand::usize(..=entry.size) != 0 => {
                let entry = Arc::make_mut(entry);
                entry.size = entry.size.saturating_add(1);
                let side = if key < entry.key { &mut entry.left } else { &mut entry.right };
                side.add(key, value);
            }
            // One of so many is the root, with the same chance for each.
            _ => {
                let (left, right) = std::mem::take(self).split(&key);
                *self = Entry { key, value, size: 0, left, right }.counted();
            }
        }
    }

    /// Removes `key`, if it is there.
    pub(super) fn remove(&mut self, key: &str) {
        if self.get(key).is_some() {
            self.drop_entry(key);
        }
    }

    fn drop_entry(&mut self, key: &str) {
        let Some(entry) = &mut self.0 else { return };
        let entry = Arc::make_mut(entry);
        entry.size = entry.size.saturating_sub(1);
        match key.cmp(&entry.key) {
            std::cmp::Ordering::Less => entry.left.drop_entry(key),
            std::cmp::Ordering::Greater => entry.right.drop_entry(key),
            std::cmp::Ordering::Equal => {
                let (left, right) =
                    (std::mem::take(&mut entry.left), std::mem::take(&mut entry.right));
                *self = Self::joined(left, right);
            }
        }
    }

    /// What is before `key`, and what is after it.
    fn split(self, key: &str) -> (Self, Self) {
        let Some(entry) = self.0 else { return (Self::default(), Self::default()) };
        let mut entry = Arc::unwrap_or_clone(entry);
        if *key < *entry.key {
            let (before, after) = entry.left.split(key);
            entry.left = after;
            (before, entry.counted())
        } else {
            let (before, after) = entry.right.split(key);
            entry.right = before;
            (entry.counted(), after)
        }
    }

    /// Both in one; all of `left` is before all of `right`.
    fn joined(left: Self, right: Self) -> Self {
        let (left_size, both) = (left.size(), left.size().saturating_add(right.size()));
        match (left.0, right.0) {
            (None, one) | (one, None) => Self(one),
            (Some(left), Some(right)) => {
                if fastrand::usize(..both) < left_size {
                    let mut root = Arc::unwrap_or_clone(left);
                    root.right = Self::joined(root.right, Self(Some(right)));
                    root.counted()
                } else {
                    let mut root = Arc::unwrap_or_clone(right);
                    root.left = Self::joined(Self(Some(left)), root.left);
                    root.counted()
                }
            }
        }
    }
}

impl<V> Entry<V> {
    /// The map from here on down.
    fn counted(mut self) -> Map<V> {
        self.size = self.left.size().saturating_add(self.right.size()).saturating_add(1);
        Map(Some(Arc::new(self)))
    }
}

impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(entries: BTreeMap<String, V>) -> Self {
        let count = entries.len();
        Self::built(&mut entries.into_iter(), count)
    }
}

/// The same keys stand for the same, whatever the shape.
impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Self) -> bool {
        self.starting_at("").eq(other.starting_at(""))
    }
}

impl<V: Eq> Eq for Map<V> {}

/// Entries in order: those on the way whose turn is still to come.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a, V>(Vec<&'a Entry<V>>);

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a str, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.pop()?;
        let mut map = &entry.right;
        while let Some(next) = &map.0 {
            self.0.push(next);
            map = &next.left;
        }
        Some((&entry.key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn depth<V>(map: &Map<V>) -> usize {
        map.0
            .as_ref()
            .map_or(0, |entry| depth(&entry.left).max(depth(&entry.right)).saturating_add(1))
    }

    fn is_counted<V>(map: &Map<V>) -> bool {
        map.0.as_ref().is_none_or(|entry| {
            entry.size == [1, entry.left.size(), entry.right.size()].iter().sum::<usize>()
                && is_counted(&entry.left)
                && is_counted(&entry.right)
        })
    }

    fn entries(map: &Map<u8>) -> Vec<(String, u8)> {
        map.starting_at("").map(|(key, value)| (key.to_owned(), *value)).collect()
    }

    proptest! {
        /// Whatever is done, it is what std's map is; and so is every copy that was ever taken.
        #[test]
        fn is_a_map_and_so_is_every_copy(
            first in prop::collection::btree_map("[a-d]{0,2}", any::<u8>(), 0..20),
            steps in prop::collection::vec(("[a-d]{0,2}", any::<Option<u8>>()), 0..60),
        ) {
            let (mut map, mut model) = (Map::from(first.clone()), first);
            let mut copies = vec![(map.clone(), model.clone())];
            for (key, value) in steps {
                if let Some(value) = value {
                    map.insert(key.clone(), value);
                    model.insert(key, value);
                } else {
                    map.remove(&key);
                    model.remove(&key);
                }
                copies.push((map.clone(), model.clone()));
            }
            for (map, model) in copies {
                prop_assert!(is_counted(&map));
                prop_assert_eq!(entries(&map), model.clone().into_iter().collect::<Vec<_>>());
                for key in ["", "a", "bb", "c", "dd", "e"] {
                    prop_assert_eq!(map.get(key), model.get(key));
                    let from: Vec<_> = map.starting_at(key).map(|(key, _)| key.to_owned()).collect();
                    let expected: Vec<_> =
                        model.range(key.to_owned()..).map(|(key, _)| key.clone()).collect();
                    prop_assert_eq!(from, expected);
                }
            }
        }
    }

    /// In order is the worst order there is for a tree that does not mind its shape.
    #[test]
    fn is_never_deep() {
        let mut map = Map::default();
        for number in 0..10_000 {
            map.insert(format!("{number:05}"), 0);
        }
        assert!(depth(&map) < 60, "{}", depth(&map));
        for number in (0..10_000).filter(|number| number % 16 != 0) {
            map.remove(&format!("{number:05}"));
        }
        assert_eq!(map.size(), 625);
        assert!(depth(&map) < 45, "{}", depth(&map));
        let even: BTreeMap<_, _> = (0..1023).map(|number| (format!("{number:05}"), 0)).collect();
        assert_eq!(depth(&Map::from(even)), 10);
    }

    #[test]
    fn a_copy_shares_what_is_the_same() {
        let first: BTreeMap<_, _> = (0..1000).map(|number| (format!("{number:05}"), 0)).collect();
        let old = Map::from(first);
        let mut new = old.clone();
        *new.get_mut("00500").unwrap() = 1;
        assert_eq!((old.get("00500"), new.get("00500")), (Some(&0), Some(&1)));
        let address = |map: &Map<i32>, key: &str| std::ptr::from_ref(map.get(key).unwrap());
        let moved = (0..1000).map(|number| format!("{number:05}"));
        let moved = moved.filter(|key| address(&old, key) != address(&new, key)).count();
        assert!(moved <= 10, "{moved} entries were copied");
    }
}
