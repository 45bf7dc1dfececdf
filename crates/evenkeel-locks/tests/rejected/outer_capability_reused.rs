//! What a guard has borrowed lends no second lock.
//~ error[E0499]: cannot borrow `*root` as mutable more than once at a time
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A < B; }

fn main() {
    let (a, b) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0));
    with_root(|root| {
        let mut b = b.lock(root);
        let mut a = a.lock(root);
        *b += 1;
        *a += 1;
    });
}
