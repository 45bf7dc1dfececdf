//! A guard, even of a static lock, ends with its root.
//~ error: lifetime may not live long enough
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

fn main() {
    let guard = with_root(|root| LOCK.lock(root));
    drop(guard);
}
