//! A lock that is awaited, on a level of those that block.
//~ error[E0080]
//~ a lock that is awaited needs a level of an `async` line
use evenkeel_locks::lock_order;
use evenkeel_locks::r#async::Mutex;

lock_order! { Counters; }

fn main() {
    drop(Mutex::<Counters, _>::new(0));
}
