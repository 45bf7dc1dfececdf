//! What is refused, and who is named for it.

use crate::contender::OURS;
use evenkeel_bench::{Figure, Race, Suite, mean_ns, ns};
use evenkeel_pool::{Account, Buffer, Limits, Pool, Tier};
use std::time::Instant;

const TIMES: usize = 500;
const BYTES: usize = 4096;
const MANY_BYTES: u64 = 1 << 40;

fn account(pool: &Pool, name: &str, slots_max: u32, bytes_max: u64) -> Account {
    let limits = Limits { max: vec![slots_max], ..Limits::default() };
    pool.channel(name, &limits).unwrap().component("component", bytes_max).unwrap()
}

fn all_of(account: &Account, bytes: usize) -> Vec<Buffer> {
    std::iter::from_fn(|| account.take(bytes).ok()).collect()
}

pub(crate) fn denied(suite: &mut Suite) {
    let pool = Pool::builder().tiers([Tier { bytes: BYTES, slots: 500 }]).build().unwrap();
    let component = account(&pool, "component", 500, 10 * BYTES as u64);
    let channel = account(&pool, "channel", 10, MANY_BYTES);
    let (all, none) = (account(&pool, "all", 500, MANY_BYTES), account(&pool, "none", 500, MANY_BYTES));
    let held = [&component, &channel, &all].map(|account| all_of(account, BYTES));
    let ask = |account: &Account| mean_ns(TIMES, |_| (), |()| account.take(BYTES).unwrap_err());
    for (part, account) in [("component", &component), ("channel", &channel), ("lent", &none)] {
        let samples = Race::new().with(OURS, || ask(account)).run();
        suite.add(Figure::of(format!("denied/{part}"), "ns", &samples, OURS, 0.5));
    }
    drop(held);
}

pub(crate) fn holders(suite: &mut Suite) {
    let pool = Pool::builder().build().unwrap();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let accounts = names.map(|name| account(&pool, name, 500, MANY_BYTES));
    let mut held = Vec::new();
    for tier in pool.tiers() {
        let turns = accounts.iter().cycle().take(tier.slots as usize);
        held.extend(turns.map(|account| account.take(tier.bytes).unwrap()));
    }
    let look = || {
        let began = Instant::now();
        let found = pool.holders();
        let took = ns(began.elapsed()) / 1e3;
        assert_eq!(found.iter().map(|holder| holder.buffers as usize).sum::<usize>(), held.len());
        took
    };
    let samples = Race::new().with_samples(OURS, || (0..20).map(|_| look()).collect()).run();
    suite.add(Figure::of("holders/875", "us", &samples, OURS, 0.5));
}
