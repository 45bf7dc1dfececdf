//! Two do not have one buffer.
//~ error[E0308]: mismatched types
//~ note: `Buffer` does not implement `Clone`
use evenkeel_pool::Buffer;

fn copy(buffer: &Buffer) -> Buffer {
    buffer.clone()
}

fn main() {
    let _: fn(&Buffer) -> Buffer = copy;
}
