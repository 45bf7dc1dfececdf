//! The outer guard stays as long as the inner one.
//~ error[E0505]: cannot move out of `a` because it is borrowed
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A < B; }

fn main() {
    let (a, b) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0));
    with_root(|root| {
        let mut a = a.lock(root);
        let mut b = b.lock(a.cap());
        drop(a);
        *b += 1;
    });
}
