//! The atomics of what a thread writes and others read; under `--cfg evenkeel_loom` those of loom, which
//! tries all interleavings and reorderings:
//!
//! ```text
//! RUSTFLAGS="--cfg evenkeel_loom" cargo test -p evenkeel-locks --release --lib interleavings
//! ```

#[cfg(evenkeel_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
#[cfg(not(evenkeel_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
