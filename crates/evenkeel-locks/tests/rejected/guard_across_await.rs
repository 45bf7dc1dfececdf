//! A future that holds a guard while it waits is not `Send`.
//~ error: future cannot be sent between threads safely
//~ await occurs here, with `guard` maybe used later
use evenkeel_locks::{Cap, Mutex, Root, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

async fn other() {}

async fn holds(root: &mut Cap<Root>) {
    let guard = LOCK.lock(root);
    other().await;
    drop(guard);
}

fn spawn(_: impl Future<Output = ()> + Send) {}

fn main() {
    with_root(|root| spawn(holds(root)));
}
