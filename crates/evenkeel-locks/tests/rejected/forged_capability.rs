//! A capability is not written down.
//~ error[E0451]
//~ of struct `Cap` are private
use evenkeel_locks::{Cap, Root};
use std::marker::PhantomData;

fn main() {
    let _literal: Cap<Root> = Cap { level: PhantomData, of_this_thread: PhantomData };
}
