//! Two levels of which one is a subtype of the other: a watched lock of the one is none of the other.
//~ error[E0308]
//~ one type is more general than the other
use evenkeel_locks::__order::{Holds, Relation};
use evenkeel_locks::watched::Mutex;
use evenkeel_locks::{Level, Root, with_root};
use std::marker::PhantomData;

struct My<T>(PhantomData<T>);
type Low = My<for<'a> fn(&'a u8)>;
type High = My<fn(&'static u8)>;

impl Level for Low {
    const NAME: &'static str = "Low";
    const RANK: u32 = 1;
}

impl Level for High {
    const NAME: &'static str = "High";
    const RANK: u32 = 2;
}

impl Relation<Root> for Low {
    type Answer = Holds<true>;
}

impl Relation<Low> for High {
    type Answer = Holds<true>;
}

fn as_high<'l>(lock: &'l Mutex<Low, u32>) -> &'l Mutex<High, u32> {
    lock
}

fn main() {
    let lock = Mutex::<Low, _>::new(0);
    with_root(|root| *as_high(&lock).lock(lock.lock(root).cap()) += 1);
}
