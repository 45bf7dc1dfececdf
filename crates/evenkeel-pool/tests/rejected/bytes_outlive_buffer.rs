//! Bytes of a buffer do not outlive it.
//~ error[E0505]: cannot move out of `buffer` because it is borrowed
use evenkeel_pool::Buffer;

fn keep(buffer: Buffer) -> u8 {
    let bytes: &[u8] = &buffer;
    drop(buffer);
    bytes[0]
}

fn main() {
    let _: fn(Buffer) -> u8 = keep;
}
