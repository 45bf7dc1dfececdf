//! The same, related by hand.
//~ error[E0080]
//~ a relation written by hand has a lock awaited under one that is not
use evenkeel_locks::__order::{Holds, Relation};
use evenkeel_locks::r#async::{TaskCap, Mutex};
use evenkeel_locks::{Level, lock_order};

lock_order! { Counters; }

enum Session {}

impl Level for Session {
    const NAME: &'static str = "Session";
    const RANK: u32 = 7;
    const IS_ASYNC: bool = true;
}

impl Relation<Counters> for Session {
    type Answer = Holds<true>;
}

fn both(lock: &Mutex<Session, u32>, held: &mut TaskCap<Counters>) {
    drop(lock.try_lock(held));
}

fn main() {
    let _ = both as fn(&Mutex<Session, u32>, &mut TaskCap<Counters>);
}
