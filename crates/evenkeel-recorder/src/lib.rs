//! Records many channels durably: sources, queues, one log.
//!
//! ```text
//! ek-capture  pipes        \                        / ek-disk    syncs, seals
//! ek-file-N   one a file    >-- hub: queues --> ek-log            (jobs and back)
//! ek-tail-N   one a path   /    and budget          \ ek-readback  sealed segments
//! ```
//!
//! Invariants:
//! 1. A record is numbered by the one thread that reads its source, and is
//!    accepted when its batch is in the hub.
//! 2. No thread does input or output while it holds the hub.
//! 3. Memory is bounded: whoever reads first takes the bytes from the budget,
//!    and they return when the record is acknowledged.
//! 4. A channel's reserve is never lent: a flood elsewhere cannot stop it.
//! 5. A stop closes the intake: what was accepted before is stored or declared,
//!    what comes after is refused, and no reader that hangs holds it up.

mod acks;
mod callback;
mod capture;
mod children;
mod clock;
mod config;
mod disk;
mod file;
mod framing;
mod hub;
mod listen;
mod log;
mod readback;
mod recorder;
mod retention;
mod steps;
mod sys;
mod tail;

pub use clock::now;
pub use config::{
    ChannelConfig, Config, Durability, Framing, LENGTH_BYTES_MAX, OnFull, ReaderSource, Restart, Retention,
    Source,
};
pub use evenkeel_core::{NameError, check_name};
pub use hub::{ChannelCounts, Condition, budget_bytes, pool_options, quota_bytes_min};
pub use recorder::{Ending, Held, Prepared, Recorder, StartError, StillHeld};
pub use steps::{WireError, specs};
