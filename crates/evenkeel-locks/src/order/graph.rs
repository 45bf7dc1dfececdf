//! An order of levels as a constant: what the macro asks while the program is compiled.

/// Which of `N` levels come before which.
#[derive(Debug)]
pub struct Graph<const N: usize> {
    /// Bit `i` of `before[j]`: level `i` comes before level `j`, directly or not.
    before: [u64; N],
}

impl<const N: usize> Graph<N> {
    /// The order that these chains state together, with the levels that are awaited before all others.
    ///
    /// # Panics
    /// With more than 64 levels, or when the chains contradict each other.
    #[must_use]
    pub const fn of(chains: &[&[usize]], is_async: &[bool; N]) -> Self {
        assert!(N <= 64, "lock_order!: more than 64 levels");
        let mut before = [0; N];
        let mut at = 0;
        while at < chains.len() {
            let chain = chains[at];
            let mut link = 1;
            while link < chain.len() {
                before[chain[link]] |= 1 << chain[link - 1];
                link += 1;
            }
            at += 1;
        }
        Self { before: closed(async_first(before, is_async)) }
    }

    /// Whether a lock of the one level may be taken while one of the other is held.
    #[must_use]
    pub const fn is_before(&self, held: usize, wanted: usize) -> bool {
        self.before[wanted] & (1 << held) != 0
    }

    /// Above the ranks of all that come before it, and of the root.
    #[must_use]
    pub const fn rank(&self, level: usize) -> u32 {
        // What comes before a level of mine has fewer before it than I: it lacks at least itself.
        1 + self.before[level].count_ones()
    }
}

/// The same, and what is awaited before all that is not.
const fn async_first<const N: usize>(mut before: [u64; N], is_async: &[bool; N]) -> [u64; N] {
    let mut first = 0;
    while first < N {
        let mut level = 0;
        while level < N {
            if is_async[first] && !is_async[level] {
                before[level] |= 1 << first;
            }
            level += 1;
        }
        first += 1;
    }
    before
}

/// What comes before what comes before, and so on.
const fn closed<const N: usize>(mut before: [u64; N]) -> [u64; N] {
    let mut through = 0;
    while through < N {
        let mut level = 0;
        while level < N {
            if before[level] & (1 << through) != 0 {
                before[level] |= before[through];
            }
            level += 1;
        }
        through += 1;
    }
    let mut level = 0;
    while level < N {
        assert!(
            before[level] & (1 << level) == 0,
            "lock_order!: a level comes before itself: the order is a circle"
        );
        level += 1;
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_join_and_ranks_go_up() {
        // 0 < 1 < 2, 3 < 4, 1 < 3.
        let graph = Graph::<5>::of(&[&[0, 1, 2], &[3, 4], &[1, 3]], &[false; 5]);
        let pairs: Vec<_> = (0..5)
            .flat_map(|a| (0..5).map(move |b| (a, b)))
            .filter(|(a, b)| graph.is_before(*a, *b))
            .collect();
        assert_eq!(pairs, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (3, 4)]);
        assert!(pairs.iter().all(|(a, b)| graph.rank(*a) < graph.rank(*b)));
        assert!((0..5).all(|level| graph.rank(level) > 0));
    }

    #[test]
    fn an_order_stated_backwards_is_closed_too() {
        let graph = Graph::<4>::of(&[&[2, 3], &[1, 2], &[0, 1]], &[false; 4]);
        assert!(graph.is_before(0, 3) && !graph.is_before(3, 0));
    }

    #[test]
    #[should_panic(expected = "circle")]
    fn a_circle_is_refused() {
        let _ = Graph::<3>::of(&[&[0, 1], &[1, 2], &[2, 0]], &[false; 3]);
    }

    #[test]
    fn what_is_awaited_comes_first() {
        let graph = Graph::<3>::of(&[&[0, 2]], &[true, false, true]);
        assert!(graph.is_before(0, 1) && graph.is_before(2, 1) && graph.is_before(0, 2));
        assert!(graph.rank(2) < graph.rank(1));
    }

    #[test]
    #[should_panic(expected = "circle")]
    fn nothing_is_awaited_under_what_is_not() {
        let _ = Graph::<2>::of(&[&[0, 1]], &[false, true]);
    }
}
