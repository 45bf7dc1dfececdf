//! Two levels against their order.
//~ error[E0277]: `A` cannot be locked while `B` is held
//~ the `lock_order!` does not say `B < A`
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A < B; }

fn main() {
    let (a, b) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0));
    with_root(|root| {
        let mut b = b.lock(root);
        *a.lock(b.cap()) += 1;
    });
}
