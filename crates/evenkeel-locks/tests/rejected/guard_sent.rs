//! So is a guard.
//~ error[E0277]: `*const ()` cannot be sent between threads safely
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

fn main() {
    with_root(|root| {
        let guard = LOCK.lock(root);
        std::thread::scope(|threads| {
            threads.spawn(move || drop(guard));
        });
    });
}
