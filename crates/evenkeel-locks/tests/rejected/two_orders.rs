//! Levels of two orders.
//~ error[E0277]: nothing says whether `B` may be locked while `A` is held
//~ `B` and `A` are not in the same `lock_order!`
//~ `also A < B;` relates two of them
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
lock_order! { B; }

fn main() {
    let (a, b) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0));
    with_root(|root| *b.lock(a.lock(root).cap()) += 1);
}
