//! Nothing is awaited inside of `with_root`.
//~ error[E0728]: `await` is only allowed inside `async` functions and blocks
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

async fn other() {}

async fn locks() {
    with_root(|root| {
        let guard = LOCK.lock(root);
        other().await;
        drop(guard);
    });
}

fn main() {
    drop(locks());
}
