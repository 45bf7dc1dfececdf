//! Compiles: what the others are refused for is not the frame around them.
//~ compiles
use evenkeel_pool::{Limits, Pool};

fn main() {
    let pool = Pool::builder().build().unwrap();
    let left = pool.channel("left", &Limits::default()).unwrap().component("mic", 500_000).unwrap();
    let mut buffer = left.take(4096).unwrap();
    buffer.fill_from(b"sound");
    buffer[0] = b'S';
    let whole = buffer.freeze();
    let part = whole.slice(1..);
    std::thread::spawn(move || drop(whole)).join().unwrap();
    assert_eq!(&*part, b"ound");
    drop(part);
}
