//! Slices are for reading: others read the same memory.
//~ error[E0594]: cannot assign to data in dereference of `evenkeel_pool::Slice`
use evenkeel_pool::Slice;

fn write(slice: &mut Slice) {
    slice[0] = 1;
}

fn main() {
    let _: fn(&mut Slice) = write;
}
