#![allow(unsafe_code, missing_docs)]
use evenkeel_pool::*;
use std::time::Instant;
fn touch(b: &mut [u8]) {
    let mut i = 0;
    while i < b.len() {
        b[i] = b[i].wrapping_add(1);
        i += 4096;
    }
    std::hint::black_box(b);
}
fn round(a: &Account, bytes: usize, n: u32) -> f64 {
    let s = Instant::now();
    for _ in 0..n {
        let mut b = a.take(bytes).unwrap();
        touch(b.spare_mut());
    }
    s.elapsed().as_nanos() as f64 / f64::from(n)
}
fn vec_round(bytes: usize, n: u32) -> f64 {
    let s = Instant::now();
    for _ in 0..n {
        let mut b: Vec<u8> = Vec::with_capacity(bytes);
        unsafe { b.set_len(bytes) };
        touch(&mut b);
        std::hint::black_box(&b);
    }
    s.elapsed().as_nanos() as f64 / f64::from(n)
}
fn main() {
    let pool = Pool::builder().build().unwrap();
    let account = |n: &str| pool.channel(n, Limits::default()).unwrap().component("c", 100 << 20).unwrap();
    let a = account("a");
    for (t, bytes) in (if std::env::args().len() > 1 { vec![4096usize] } else { vec![4096, 65536, 1 << 20] })
        .into_iter()
        .enumerate()
    {
        let n = [5_000_000, 500_000, 50_000][t];
        let mut ours: Vec<f64> = Vec::new();
        let mut vecs = Vec::new();
        for _ in 0..9 {
            ours.push(round(&a, bytes, n));
            vecs.push(vec_round(bytes, n));
        }
        ours.sort_by(f64::total_cmp);
        vecs.sort_by(f64::total_cmp);
        println!(
            "one thread {bytes}: ours min {:.1} med {:.1}; vec min {:.1} med {:.1}",
            ours[0], ours[4], vecs[0], vecs[4]
        );
    }
    let y = account("b");
    let mut two = Vec::new();
    for _ in 0..9 {
        two.push(std::thread::scope(|s| {
            let h = s.spawn(|| round(&y, 4096, 3_000_000));
            let r = round(&a, 4096, 3_000_000);
            r.max(h.join().unwrap())
        }));
    }
    two.sort_by(f64::total_cmp);
    println!("two threads 4096: min {:.1} med {:.1}", two[0], two[4]);
}
