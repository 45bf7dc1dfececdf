//! Two locks of one async level in one task.
//~ error[E0277]: `Session` cannot be locked while `Session` is held
use evenkeel_locks::lock_order;
use evenkeel_locks::r#async::{Mutex, with_task};

lock_order! { async Session; }
static ONE: Mutex<Session, u32> = Mutex::new(0);
static TWO: Mutex<Session, u32> = Mutex::new(0);

async fn both() {
    with_task(async |root| *TWO.lock(ONE.lock(root).await.cap()).await += 1).await
}

fn main() {
    drop(both());
}
