//! An `.await` where locks that block are taken.
//~ error[E0728]
use evenkeel_locks::r#async::with_task;
use evenkeel_locks::{Mutex as Blocking, lock_order};

lock_order! { async Session; Counters; }
static COUNTERS: Blocking<Counters, u32> = Blocking::new(0);

async fn other() {}

async fn holds() {
    with_task(async |root| {
        root.sync(|held| {
            let guard = COUNTERS.lock(held);
            other().await;
            drop(guard);
        })
    })
    .await
}

fn main() {
    drop(holds());
}
