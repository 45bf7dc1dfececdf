//! Tiered buffers with quotas.

mod arena;
mod depot;
mod magazine;
mod pool;
mod quota;
mod seat;
mod sync;

pub use pool::{Account, Buffer, Exhausted, Pool, Tier};
