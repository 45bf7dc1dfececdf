//! The root itself does not leave.
//~ error: lifetime may not live long enough
use evenkeel_locks::with_root;

fn main() {
    let _root = with_root(|root| root);
}
