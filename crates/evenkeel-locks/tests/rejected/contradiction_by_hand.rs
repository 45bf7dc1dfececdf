//! Two orders, related by hand both ways: the one that goes down fails where it is used.
//~ error[E0080]
//~ a relation written by hand contradicts the ranks
use evenkeel_locks::__order::{Holds, Relation};
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A; }
lock_order! { B < C; }

impl Relation<A> for C {
    type Answer = Holds<true>;
}

impl Relation<C> for A {
    type Answer = Holds<true>;
}

fn main() {
    let (a, c) = (Mutex::<A, _>::new(0), Mutex::<C, _>::new(0));
    with_root(|root| *c.lock(a.lock(root).cap()) += 1);
    with_root(|root| *a.lock(c.lock(root).cap()) += 1);
}
