//! A machine that goes to and fro between two states.
//!
//! A return is a change along `B -> A` that directly follows one along `A -> B`. More than so many along one edge
//! within the window are told of once, until no return between the two has been seen for a window. A rollback is no
//! return, and what follows it is none.

use super::{FlappingLimits, State, Table};
use crate::Mono;
use std::time::Duration;

/// A machine goes to and fro between two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping<S> {
    /// The state that it comes back to.
    pub state: S,
    /// The state that it comes back from.
    pub other: S,
    /// How often it came back, at least.
    pub returns: u32,
    /// In what time, at most.
    pub within: Duration,
}

/// What is known of an edge that another one leads back from.
#[derive(Clone, Copy, Debug)]
struct Returns {
    edge: u16,
    /// The edge that leads back.
    reverse: u16,
    /// Places that are in use, and the oldest or next of them.
    known: u8,
    next: u8,
    /// Of the pair, kept at the edge with the lower number: the last return, and whether it was told of.
    last: Option<Mono>,
    is_told: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Turns {
    limits: FlappingLimits,
    /// In the order of their numbers; there may be few among many edges.
    edges: Vec<Returns>,
    /// The latest returns along each of these, `returns_max` places each.
    times: Vec<Mono>,
    /// The edge of the last change, unless it was a rollback.
    latest: Option<u16>,
}

impl Turns {
    pub(super) fn new<S: State>(table: &Table<S>, limits: FlappingLimits) -> Self {
        let new = |(edge, (from, to, _))| {
            let reverse = table.edge(to, from)?;
            Some(Returns { edge, reverse, known: 0, next: 0, last: None, is_told: false })
        };
        let mut edges: Vec<Returns> = (0..).zip(table.edges()).filter_map(new).collect();
        edges.shrink_to_fit();
        let times = vec![Mono::default(); edges.len() * usize::from(limits.returns_max)];
        Self { limits, edges, times, latest: None }
    }

    /// Where an edge is kept, if another one leads back from it.
    fn place(&self, edge: u16) -> Option<usize> {
        self.edges.binary_search_by_key(&edge, |returns| returns.edge).ok()
    }

    /// Until when a change along this edge is refused, if it is.
    pub(super) fn refused_until(&self, now: Mono, edge: u16) -> Option<Mono> {
        if !self.limits.is_refused {
            return None;
        }
        let (_, pair) = self.pair_of_return(edge)?;
        let pair = self.edges[pair];
        let calm = pair.last?.plus(self.limits.window);
        (pair.is_told && now <= calm).then(|| calm.plus(Duration::from_nanos(1)))
    }

    /// Where the edge is kept, and where its pair, if a change along it would be a return.
    fn pair_of_return(&self, edge: u16) -> Option<(usize, usize)> {
        let place = self.place(edge)?;
        let reverse = self.edges[place].reverse;
        if self.latest != Some(reverse) {
            return None;
        }
        let pair = self.place(edge.min(reverse)).expect("invariant: what leads back is led back from");
        Some((place, pair))
    }

    /// Takes a change in; how often it came back and in what time, if that is to be told.
    pub(super) fn changed(&mut self, now: Mono, edge: u16) -> Option<(u32, Duration)> {
        let pair = self.pair_of_return(edge);
        self.latest = Some(edge);
        let (place, pair) = pair?;
        let window = self.limits.window;
        if self.edges[pair].last.is_some_and(|last| now.since(last) > window) {
            self.edges[pair].is_told = false;
        }
        self.edges[pair].last = Some(now);
        let within = self.returned(now, place)?;
        if within > window || self.edges[pair].is_told {
            return None;
        }
        self.edges[pair].is_told = true;
        Some((u32::from(self.limits.returns_max) + 1, within))
    }

    /// Notes a return along an edge; the time since as many before it as are allowed.
    fn returned(&mut self, now: Mono, edge: usize) -> Option<Duration> {
        let places = self.limits.returns_max;
        let returns = &mut self.edges[edge];
        let at = edge * usize::from(places) + usize::from(returns.next);
        let oldest = (returns.known == places).then(|| self.times[at]);
        self.times[at] = now;
        returns.next = (returns.next + 1) % places;
        returns.known = (returns.known + 1).min(places);
        oldest.map(|oldest| now.since(oldest))
    }

    /// Whether some pair was told of and is not calm yet.
    pub(super) fn is_flapping(&self, now: Mono) -> bool {
        let window = self.limits.window;
        self.edges.iter().any(|edge| edge.is_told && edge.last.is_some_and(|last| now.since(last) <= window))
    }

    pub(super) fn rolled_back(&mut self) {
        self.latest = None;
    }
}
