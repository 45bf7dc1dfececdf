//! A relation that the order has answered already.
//~ error[E0119]: conflicting implementations of trait
use evenkeel_locks::__order::{Holds, Relation};

evenkeel_locks::lock_order! { A < B; }

impl Relation<B> for A {
    type Answer = Holds<true>;
}

fn main() {}
