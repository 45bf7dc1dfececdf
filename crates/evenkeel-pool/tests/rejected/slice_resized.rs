//! Nor has a slice room behind it that one may fill.
//~ error[E0599]: no method named `spare_mut` found for mutable reference `&mut evenkeel_pool::Slice`
use evenkeel_pool::Slice;

fn fill(slice: &mut Slice) {
    slice.spare_mut()[0] = 1;
}

fn main() {
    let _: fn(&mut Slice) = fill;
}
