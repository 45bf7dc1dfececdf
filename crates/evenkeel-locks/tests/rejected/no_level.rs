//! A type that is no level.
//~ error[E0277]: `u32` is no level of a lock order
use evenkeel_locks::Mutex;

fn main() {
    let _lock = Mutex::<u32, _>::new(0);
}
