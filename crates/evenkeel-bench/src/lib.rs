//! What the benchmark suites share: turns, quantiles, a place on the disk, and the
//! form in which figures are handed to `cargo xtask bench`.
//!
//! A suite is a bench target without a harness. It measures and states goals; whether
//! they are met is judged by `cargo xtask bench`, which also says where and when.

mod place;
mod race;
mod suite;

pub use place::place;
pub use race::{Race, Samples, mean_ns, ns};
pub use suite::{Arguments, Figure, Goal, Suite};

/// What a suite says that was built without the feature `peers`.
pub const NO_PEERS: &str = "all peers: built without the feature `peers`";
