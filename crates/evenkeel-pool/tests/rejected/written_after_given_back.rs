//! Nor is it written, by whoever still has a part of it in hand.
//~ error[E0505]: cannot move out of `buffer` because it is borrowed
use evenkeel_pool::Buffer;

fn write(mut buffer: Buffer) {
    let spare = buffer.spare_mut();
    drop(buffer);
    spare[0] = 1;
}

fn main() {
    let _: fn(Buffer) = write;
}
