//! The ends of two chains that a third joins, against the order.
//~ error[E0277]: `A` cannot be locked while `D` is held
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A < B; C < D; also B < C; }

fn main() {
    let (a, d) = (Mutex::<A, _>::new(0), Mutex::<D, _>::new(0));
    with_root(|root| {
        let mut d = d.lock(root);
        *a.lock(d.cap()) += 1;
    });
}
