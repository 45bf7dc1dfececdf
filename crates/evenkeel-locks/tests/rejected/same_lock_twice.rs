//! One lock, twice, with the root each time.
//~ error[E0499]: cannot borrow `*root` as mutable more than once at a time
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

fn main() {
    with_root(|root| {
        let once = LOCK.lock(root);
        let again = LOCK.lock(root);
        drop((once, again));
    });
}
