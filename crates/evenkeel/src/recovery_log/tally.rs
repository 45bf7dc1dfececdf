//! What is counted under a name, for so many names at most.

use std::collections::BTreeMap;

/// The name under which the rest is counted.
pub(super) const OTHERS: &str = "(others)";

/// Something for each of the first so many names; all further names share one, [`OTHERS`].
#[derive(Clone, Debug)]
pub(super) struct Tally<T> {
    names_max: usize,
    of: BTreeMap<String, T>,
}

impl<T: Default> Tally<T> {
    pub(super) const fn new(names_max: usize) -> Self {
        Self { names_max, of: BTreeMap::new() }
    }

    /// What is there under a name.
    pub(super) fn of(&mut self, name: &str) -> &mut T {
        let is_known = self.of.contains_key(name);
        let name = if is_known || self.of.len() < self.names_max { name } else { OTHERS };
        if !self.of.contains_key(name) {
            self.of.insert(name.to_owned(), T::default());
        }
        self.of.get_mut(name).expect("invariant: it was there or was just put there")
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = (String, T)> {
        self.of.into_iter()
    }
}

impl Tally<u64> {
    pub(super) fn add(&mut self, name: &str, count: u64) {
        let of = self.of(name);
        *of = of.saturating_add(count);
    }

    /// The most frequent first.
    pub(super) fn ranked(self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.into_all().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ M4
    #[test]
    fn names_beyond_the_bound_share_one() {
        let mut tally = Tally::new(2);
        for name in ["a", "b", "c", "a", "d"] {
            tally.add(name, 1);
        }
        let all = [("(others)", 2), ("a", 2), ("b", 1)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(tally.ranked(), all);
    }
}
