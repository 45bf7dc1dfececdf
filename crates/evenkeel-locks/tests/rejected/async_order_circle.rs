//! An order in which something is awaited under what is not.
//~ error[E0080]
//~ the order is a circle
evenkeel_locks::lock_order! { async Session; Counters; also Counters < Session; }

fn main() {}
