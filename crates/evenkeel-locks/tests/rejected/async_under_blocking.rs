//! A lock that is awaited, while one that blocks is held.
//~ error[E0308]: mismatched types
//~ expected `&mut TaskCap<_>`, found `&mut Cap<Counters>`
use evenkeel_locks::r#async::{Mutex, with_task};
use evenkeel_locks::{Mutex as Blocking, lock_order};

lock_order! { async Session; Counters; }
static SESSION: Mutex<Session, u32> = Mutex::new(0);
static COUNTERS: Blocking<Counters, u32> = Blocking::new(0);

async fn both() {
    with_task(async |root| {
        root.sync(|held| {
            let mut counters = COUNTERS.lock(held);
            drop(SESSION.try_lock(counters.cap()));
        })
    })
    .await
}

fn main() {
    drop(both());
}
