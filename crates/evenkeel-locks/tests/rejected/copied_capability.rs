//! A capability is not cloned nor made by default.
//~ error[E0599]: no method named `clone` found for mutable reference `&mut Cap<Root>`
//~ error[E0277]: the trait bound `Cap<Root>: Default` is not satisfied
use evenkeel_locks::with_root;

fn main() {
    with_root(|root| {
        let _clone = root.clone();
        let _taken = std::mem::take(root);
    });
}
