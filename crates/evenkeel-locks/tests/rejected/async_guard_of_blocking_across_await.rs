//! A lock that blocks, held across an `.await` of a task.
//~ error: lifetime may not live long enough
use evenkeel_locks::r#async::with_task;
use evenkeel_locks::{Mutex as Blocking, lock_order};

lock_order! { async Session; Counters; }
static COUNTERS: Blocking<Counters, u32> = Blocking::new(0);

async fn other() {}

async fn holds() {
    with_task(async |root| {
        root.sync(|held| async move {
            let guard = COUNTERS.lock(held);
            other().await;
            drop(guard);
        })
        .await
    })
    .await
}

fn main() {
    drop(holds());
}
