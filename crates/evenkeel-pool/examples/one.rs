#![allow(unsafe_code, missing_docs)]
use evenkeel_pool::*;
use std::time::Instant;
fn round(a: &Account, bytes: usize, n: u32) -> f64 {
    let s = Instant::now();
    for _ in 0..n {
        let mut b = a.take(bytes).unwrap();
        let s = b.spare_mut();
        s[0] = s[0].wrapping_add(1);
        std::hint::black_box(&b);
    }
    s.elapsed().as_nanos() as f64 / f64::from(n)
}
fn main() {
    let pool = Pool::builder().build().unwrap();
    let a = pool.channel("a", Limits::default()).unwrap().component("c", 100 << 20).unwrap();
    let mut all: Vec<f64> = (0..40).map(|_| round(&a, 4096, 3_000_000)).collect();
    all.sort_by(f64::total_cmp);
    println!("{:.1} {:.1}", all[0], all[20]);
}
