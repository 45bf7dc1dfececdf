//! An order that is a circle.
//~ error[E0080]
//~ a level comes before itself: the order is a circle
evenkeel_locks::lock_order! { A < B < C; also C < A; }

fn main() {}
