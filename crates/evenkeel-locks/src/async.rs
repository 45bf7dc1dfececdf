//! Locks that are awaited, on levels, for any runtime or none.
//!
//! A task has a root of its own, and its capabilities go with it from thread to thread. What is awaited
//! stands before whatever blocks, so a lock that blocks is never held across an `.await`: it is taken
//! between two of them, inside of [`TaskCap::sync`].
//!
//! ```
//! use evenkeel_locks::r#async::{Mutex, with_task};
//! use evenkeel_locks::{lock_order, Mutex as Blocking};
//!
//! lock_order! {
//!     async pub Session < Request;
//!     pub Counters;
//! }
//!
//! static SESSION: Mutex<Session, Vec<u32>> = Mutex::new(Vec::new());
//! static REQUEST: Mutex<Request, u32> = Mutex::new(7);
//! static SERVED: Blocking<Counters, u64> = Blocking::new(0);
//!
//! async fn serve() {
//!     with_task(async |root| {
//!         let mut session = SESSION.lock(root).await;
//!         let (session, held) = session.parts();
//!         let mut request = REQUEST.lock(held).await;
//!         session.push(*request);
//!         request.cap().sync(|held| *SERVED.lock(held) += 1);
//!     })
//!     .await
//! }
//! # let task = std::pin::pin!(serve());
//! # assert!(task.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
//! ```
//!
//! What holds:
//! * Who comes first has it first. A lock that is let go is handed to the one that waits longest, or to all
//!   readers that wait at the head of the queue; nobody comes between.
//! * Cancel-safe: a future that is dropped leaves the queue, or hands on what it was just given. So a time
//!   limit is whatever drops the future in time.
//! * No waker is called, cloned or dropped while a lock of ours is held.
//! * What a lock counted, and which tasks hold it from where, is in [`watch::snapshot`](crate::watch::snapshot).
//! * A panic, or the end of a task, lets go. There is no poison.
//!
//! What no scheme covers: a guard that is forgotten or leaked, a future that is kept and never polled
//! again, and a wait for another task that needs what is held.

mod gate;
mod mutex;
mod record;
mod rwlock;
mod task;

pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use task::{TaskCap, with_task};
