//! A guard that leaves its task.
//~ error: lifetime may not live long enough
use evenkeel_locks::lock_order;
use evenkeel_locks::r#async::{Mutex, with_task};

lock_order! { async Session; }
static SESSION: Mutex<Session, u32> = Mutex::new(0);

async fn escapes() {
    let guard = with_task(async |root| SESSION.lock(root).await).await;
    drop(guard);
}

fn main() {
    drop(escapes());
}
