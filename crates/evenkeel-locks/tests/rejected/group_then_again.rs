//! Nothing of the level of a group follows it.
//~ error[E0277]: `A` cannot be locked while `A` is held
use evenkeel_locks::{Mutex, lock_all, lock_order, with_root};

lock_order! { A; }

fn main() {
    let a = [const { Mutex::<A, u32>::new(0) }; 3];
    with_root(|root| {
        let mut group = lock_all(root, &a[..2]).unwrap();
        *a[2].lock(group.cap()) += 1;
    });
}
