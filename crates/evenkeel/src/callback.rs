//! The way out to what users wrote: their closures, futures, wakers, runtimes, and the drops of their values.
//!
//! What holds: nothing of a user's is called or dropped but through [`call`], which takes proof that no lock of
//! the house is held. What is called may come back to us, by any entry.

use evenkeel_hierarchy::{Cap, House, with_root};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Calls what a user wrote, or drops what is a user's; a panic ends here.
///
/// # Errors
/// What it panicked with; see [`message`].
pub(crate) fn call<T>(house: &mut Cap<House>, theirs: impl FnOnce() -> T) -> thread::Result<T> {
    house.outside(|| catch_unwind(AssertUnwindSafe(theirs)))
}

/// The same for what nothing is wanted of.
pub(crate) fn call_alone(house: &mut Cap<House>, theirs: impl FnOnce()) {
    if let Err(panic) = call(house, theirs) {
        let _ = message(panic);
    }
}

/// The same from where nothing of the house is held.
///
/// # Panics
/// Where something is.
pub(crate) fn contained(theirs: impl FnOnce()) {
    with_root(|house| call_alone(house, theirs));
}

/// What a panic said.
pub(crate) fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| {
        // Of a type of the user's, whose drop is a user's code too, and may panic in its turn.
        std::mem::forget(panic);
        "a panic without words".to_owned()
    })
}
