//! One lock, read twice by one thread.
//~ error[E0277]: `A` cannot be locked while `A` is held
use evenkeel_locks::{RwLock, lock_order, with_root};

lock_order! { A; }

fn main() {
    let lock = RwLock::<A, _>::new(0);
    with_root(|root| {
        let mut once = lock.read(root);
        let _ = *lock.read(once.cap());
    });
}
