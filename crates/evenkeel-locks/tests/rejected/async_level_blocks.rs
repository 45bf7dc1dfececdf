//! A lock that blocks, on a level of those that are awaited.
//~ error[E0080]
//~ a lock of an `async` level is awaited
use evenkeel_locks::{Mutex, lock_order};

lock_order! { async Session; }

fn main() {
    drop(Mutex::<Session, _>::new(0));
}
