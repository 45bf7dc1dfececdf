//! Who calls callbacks asks for the root, which a guard has borrowed.
//~ error[E0499]: cannot borrow `*root` as mutable more than once at a time
use evenkeel_locks::{Cap, Mutex, Root, lock_order, with_root};

lock_order! { A; }
static LOCK: Mutex<A, u32> = Mutex::new(0);

fn tell(root: &mut Cap<Root>, observer: impl FnOnce()) {
    root.outside(observer);
}

fn main() {
    with_root(|root| {
        let guard = LOCK.lock(root);
        tell(root, || ());
        drop(guard);
    });
}
