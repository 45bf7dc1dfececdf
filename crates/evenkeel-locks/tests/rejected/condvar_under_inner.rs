//! No wait while a lock is held that comes after.
//~ error[E0499]: cannot borrow `a` as mutable more than once at a time
use evenkeel_locks::{Condvar, Mutex, lock_order, with_root};

lock_order! { A < B; }
static CHANGED: Condvar = Condvar::new();

fn main() {
    let (a, b) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0));
    with_root(|root| {
        let mut a = a.lock(root);
        let b = b.lock(a.cap());
        CHANGED.wait(&mut a);
        drop(b);
    });
}
