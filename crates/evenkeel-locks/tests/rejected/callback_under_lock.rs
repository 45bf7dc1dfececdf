//! Who calls callbacks asks for the root, and a lock lends another capability.
//~ error[E0308]: mismatched types
//~ expected `&mut Cap<Root>`, found `&mut Cap<A>`
use evenkeel_locks::{Cap, Mutex, Root, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

fn tell(root: &mut Cap<Root>, observer: impl FnOnce()) {
    root.outside(observer);
}

fn main() {
    with_root(|root| tell(LOCK.lock(root).cap(), || ()));
}
