//! What cannot be said without `unsafe`: memory from the system, and handles that lead to it.

mod handle;
mod mapping;

pub(crate) use handle::{Lease, Memory, Root, Shared, Slot};
pub(crate) use mapping::{Arena, PAGE_BYTES};
