//! Async levels the other way round.
//~ error[E0277]: `Session` cannot be locked while `Request` is held
use evenkeel_locks::lock_order;
use evenkeel_locks::r#async::{Mutex, with_task};

lock_order! { async Session < Request; }
static SESSION: Mutex<Session, u32> = Mutex::new(0);
static REQUEST: Mutex<Request, u32> = Mutex::new(0);

async fn both() {
    with_task(async |root| *SESSION.lock(REQUEST.lock(root).await.cap()).await += 1).await
}

fn main() {
    drop(both());
}
