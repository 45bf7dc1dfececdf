//! Compiles: what the others are refused for is not the frame around them.
//~ compiles
use evenkeel_locks::{Mutex, lock_order, with_root};

lock_order! { A < B; pub(crate) C; also A < C; }

fn main() {
    let (a, b, c) = (Mutex::<A, _>::new(0), Mutex::<B, _>::new(0), Mutex::<C, _>::new(0));
    with_root(|root| {
        let mut a = a.lock(root);
        *b.lock(a.cap()) += 1;
        *c.lock(a.cap()) += 1;
    });
}
