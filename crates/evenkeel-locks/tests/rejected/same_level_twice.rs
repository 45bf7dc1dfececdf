//! Two locks of one level, one after the other.
//~ error[E0277]: `A` cannot be locked while `A` is held
//~ several locks of one level go through `lock_all`
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }

fn main() {
    let (one, two) = (Mutex::<A, _>::new(0), Mutex::<A, _>::new(0));
    with_root(|root| {
        let mut one = one.lock(root);
        *two.lock(one.cap()) += 1;
    });
}
