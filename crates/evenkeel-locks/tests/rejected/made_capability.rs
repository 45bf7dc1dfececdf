//! A capability is not made.
//~ error[E0624]: associated function `new` is private
use evenkeel_locks::{Cap, Root};

fn main() {
    let _made: Cap<Root> = Cap::new();
}
