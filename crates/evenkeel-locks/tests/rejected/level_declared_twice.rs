//! A level that is declared in two lines.
//~ error[E0428]: the name `A` is defined multiple times
evenkeel_locks::lock_order! { A < B; A < C; }

fn main() {}
