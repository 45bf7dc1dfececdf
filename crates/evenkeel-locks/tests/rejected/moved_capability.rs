//! A capability is not moved out of what lends it.
//~ error[E0507]: cannot move out of `*root` which is behind a mutable reference
use evenkeel_locks::with_root;

fn main() {
    with_root(|root| {
        let _moved = *root;
    });
}
