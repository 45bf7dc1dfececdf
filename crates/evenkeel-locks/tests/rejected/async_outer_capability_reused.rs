//! The capability of a task, used again while what was locked with it is held.
//~ error[E0499]: cannot borrow `*root` as mutable more than once at a time
use evenkeel_locks::lock_order;
use evenkeel_locks::r#async::{Mutex, with_task};

lock_order! { async Session < Request; }
static SESSION: Mutex<Session, u32> = Mutex::new(0);
static REQUEST: Mutex<Request, u32> = Mutex::new(0);

async fn both() {
    with_task(async |root| {
        let session = SESSION.lock(root).await;
        *REQUEST.lock(root).await += *session;
    })
    .await
}

fn main() {
    drop(both());
}
