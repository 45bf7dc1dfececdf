//! The way out to what an embedder wrote: the readers that it records from.
//!
//! Nothing of an embedder's is called but through [`call`], which takes proof that no lock of the house is held.
//! Its storages are called by threads that hold none either: no lock leaves the module that has it.

use evenkeel_hierarchy::{Cap, House};

/// Calls what an embedder wrote. A panic goes on: the thread that it ends tells of it.
pub(crate) fn call<T>(house: &mut Cap<House>, theirs: impl FnOnce() -> T) -> T {
    house.outside(theirs)
}
