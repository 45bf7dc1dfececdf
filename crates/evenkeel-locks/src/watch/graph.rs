//! What was seen of the order of classes.
//!
//! Whether an edge is known is one bit, read without a lock. Only an edge that is not known takes the
//! mutex, under which the graph has no circle: an edge that would close one is never put in.

use super::event::{Earlier, Place};
use super::held::Hold;
use super::order::NODES_MAX;
use super::registry;
use super::sys::Site;
use super::tag::{RANKS, Tag};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = NODES_MAX / 64;

/// Bit `to` of row `from`.
static EDGES: [[AtomicU64; WORDS]; NODES_MAX] = [const { [const { AtomicU64::new(0) }; WORDS] }; NODES_MAX];

/// Where each edge was seen first.
static SEEN: Mutex<BTreeMap<(u16, u16), Seen>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Seen {
    held_at: Site,
    wanted_at: Site,
    thread: String,
}

/// A lock of the one class was taken before while one of the other was held. Never so of a class and
/// itself, nor where one is in no order.
#[inline(always)]
pub(crate) fn is_known(from: u16, to: u16) -> bool {
    let word = EDGES.get(usize::from(from)).and_then(|row| row.get(usize::from(to / 64)));
    word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (to % 64)) != 0)
}

/// Takes in an edge.
///
/// # Errors
/// The edges that it contradicts, each with where it was seen first.
pub(crate) fn add(hold: &Hold, wanted: Tag, wanted_at: Site, thread: &str) -> Result<(), Vec<Earlier>> {
    let (from, to) = (hold.tag.node(), wanted.node());
    let mut seen = SEEN.lock();
    if let Some(path) = path(to, from) {
        let edges: Vec<_> = path.windows(2).map(|edge| (edge[0], edge[1])).collect();
        let sites: Vec<_> = edges
            .iter()
            .map(|edge| seen.get(edge).map(|seen| (seen.held_at, seen.wanted_at, seen.thread.clone())))
            .collect();
        drop(seen);
        return Err(edges.into_iter().zip(sites).map(|(edge, sites)| earlier(edge, sites)).collect());
    }
    seen.insert((from, to), Seen { held_at: hold.site, wanted_at, thread: thread.to_owned() });
    EDGES[usize::from(from)][usize::from(to) / 64].fetch_or(1 << (to % 64), Ordering::Relaxed);
    Ok(())
}

fn earlier((from, to): (u16, u16), sites: Option<(Site, Site, String)>) -> Earlier {
    let (from, to) = (registry::node_name(from), registry::node_name(to));
    let place = |lock, site| Place { lock, site };
    match sites {
        Some((held_at, wanted_at, thread)) => Earlier {
            held: place(from, Some(held_at)),
            wanted: place(to, Some(wanted_at)),
            thread: Some(thread),
        },
        None => Earlier { held: place(from, None), wanted: place(to, None), thread: None },
    }
}

/// A shortest way along the edges, and from a rank to all that are greater.
fn path(from: u16, to: u16) -> Option<Vec<u16>> {
    let mut came_from = BTreeMap::from([(from, from)]);
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            return Some(walk_back(&came_from, from, to));
        }
        for next in successors(node) {
            came_from.entry(next).or_insert_with(|| {
                queue.push_back(next);
                node
            });
        }
    }
    None
}

fn walk_back(came_from: &BTreeMap<u16, u16>, from: u16, to: u16) -> Vec<u16> {
    let mut path = vec![to];
    let mut node = to;
    while node != from {
        node = came_from[&node];
        path.push(node);
    }
    path.reverse();
    path
}

fn successors(node: u16) -> Vec<u16> {
    let greater = if node < RANKS { node + 1..RANKS } else { 0..0 };
    let mut successors: Vec<u16> = greater.collect();
    for (at, word) in EDGES[usize::from(node)].iter().enumerate() {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != 0 {
            successors.push(at as u16 * 64 + bits.trailing_zeros() as u16);
            bits &= bits - 1;
        }
    }
    successors
}
