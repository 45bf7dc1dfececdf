//! A guard is not put where it outlives its root.
//~ error[E0521]: borrowed data escapes outside of closure
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

fn main() {
    let mut kept = None;
    with_root(|root| kept = Some(LOCK.lock(root)));
    drop(kept);
}
