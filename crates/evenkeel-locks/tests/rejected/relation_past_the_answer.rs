//! The relation that locking asks for, written by hand for a level that has no answer of its own.
//~ error[E0080]
//~ a relation written by hand contradicts the ranks
use evenkeel_locks::{After, Level, Mutex, lock_order, with_root};

lock_order! { A; }

enum Mine {}

impl Level for Mine {
    const NAME: &'static str = "Mine";
    const RANK: u32 = 1;
}

impl After<A> for Mine {}

fn main() {
    let (a, mine) = (Mutex::<A, _>::new(0), Mutex::<Mine, _>::new(0));
    with_root(|root| *mine.lock(a.lock(root).cap()) += 1);
}
