//! A group of locks has one capability: what follows it is in order too.
//~ error[E0499]: cannot borrow `group` as mutable more than once at a time
use evenkeel_locks::{Mutex, lock_all, lock_order, with_root};

lock_order! { A < B < C; }

fn main() {
    let a = [const { Mutex::<A, u32>::new(0) }; 2];
    let (b, c) = (Mutex::<B, _>::new(0), Mutex::<C, _>::new(0));
    with_root(|root| {
        let mut group = lock_all(root, &a).unwrap();
        let c = c.lock(group.cap());
        let b = b.lock(group.cap());
        drop((b, c));
    });
}
