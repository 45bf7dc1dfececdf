//! What one channel wrote, and another does not see.

use crate::contender::{OURS, TIERS};
use evenkeel_bench::{Figure, Race, Suite, mean_ns};
use evenkeel_pool::{Account, Limits, Pool, Tier};

const SLOTS: u32 = 48;
/// Taken at a time, of those past what a thread keeps for itself.
const TAKEN: usize = 16;

/// All buffers of the pool written all over by one, and given back.
fn dirty(writer: &Account, bytes: usize) {
    let mut all: Vec<_> = (0..SLOTS).map(|_| writer.take(bytes).unwrap()).collect();
    all.iter_mut().for_each(|buffer| buffer.spare_mut().fill(b's'));
}

pub(crate) fn measure(suite: &mut Suite) {
    for (name, bytes) in TIERS {
        let pool = Pool::builder().tiers([Tier { bytes, slots: SLOTS }]).build().unwrap();
        let account = |name| {
            let channel = pool.channel(name, &Limits::default()).unwrap();
            channel.component("component", u64::MAX / 2).unwrap()
        };
        let (own, other) = (account("own"), account("other"));
        let mut zeroes = vec![vec![1_u8; bytes]; TAKEN];
        let taken = |by: &Account| {
            dirty(&own, bytes);
            mean_ns(TAKEN, |_| (), |()| by.take(bytes).unwrap())
        };
        let samples = Race::new()
            .with(OURS, || taken(&other))
            .with("its own again", || taken(&own))
            .with("zeroing alone", || mean_ns(TAKEN, |at| at, |at| zeroes[at].fill(0)))
            .run();
        suite.add(Figure::of(format!("wiped/{name}"), "ns", &samples, OURS, 0.5));
    }
}
