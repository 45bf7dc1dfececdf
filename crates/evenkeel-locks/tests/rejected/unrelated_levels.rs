//! Two levels that nothing relates, in either order.
//~ error[E0277]: `B` cannot be locked while `A` is held
//~ error[E0277]: `A` cannot be locked while `B` is held
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; B; }

fn main() {
    let (a, b) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0));
    with_root(|root| {
        *b.lock(a.lock(root).cap()) += 1;
        *a.lock(b.lock(root).cap()) += 1;
    });
}
