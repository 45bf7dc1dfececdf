//! What is others' is not called while a lock of a realm is held.
//~ second mutable borrow

use evenkeel_locks::{Mutex, lock_order, with_root_of};

lock_order! { root House; Books; }

fn main() {
    let books = Mutex::<Books, _>::new(0);
    with_root_of::<House, _>(|house| {
        let guard = books.lock(house);
        house.outside(|| ());
        drop(guard);
    });
}
