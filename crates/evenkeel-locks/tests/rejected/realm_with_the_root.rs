//! Locks of a realm are not taken with the root of the thread.
//~ nothing says whether `Books` may be locked while `Root` is held

use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { root House; Books; }

fn main() {
    let books = Mutex::<Books, _>::new(());
    with_root(|root| {
        let _guard = books.lock(root);
    });
}
