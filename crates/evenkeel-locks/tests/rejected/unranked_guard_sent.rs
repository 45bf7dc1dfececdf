//! A guard whose order is learnt belongs to its thread too, whatever the lock underneath allows.
//+ send_guard
//~ error[E0277]
//~ cannot be sent between threads safely
use evenkeel_locks::unranked::Mutex;

fn main() {
    let lock = Mutex::new(0);
    let guard = lock.lock();
    std::thread::scope(|threads| {
        threads.spawn(move || drop(guard));
    });
}
