//! Keeps long-running, many-channel services stable, and stops them with proof
//! that nothing was lost.
//!
//! Five words are enough to begin: a [`Keel`] is a service; a [`Channel`] is what is
//! isolated in it; a component is what lives in a channel; a cleanup step is a
//! named piece of stopping; the [`Report`](cleanup::Report) says what was done and verified.
//!
//! ```
//! use evenkeel::prelude::*;
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     let builder = Keel::builder("intercom").grace(20.seconds());
//! #   let builder = builder.keep_process().without_signals();
//!     evenkeel::main(builder, async |keel| {
//!         let left = keel.channel("left")?;
//!         left.cleanup("flush/left")
//!             .phase(Phase::FlushingStorage)
//!             .timeout(5.seconds())
//!             .run(|_step| async { Ok::<(), std::io::Error>(()) })
//!             .verify(|_step| async { true })
//!             .register()?;
//! #       keel.request_stop("the example is over", "the example");
//!         Ok(())
//!     }) // runs until a signal, stops in order; the exit code says what was verified
//! }
//! ```

pub mod buffers;
mod callback;
pub mod cleanup;
pub mod clock;
mod components;
pub mod faults;
pub mod journal;
mod keel;
mod monitoring;
pub mod recovery_log;
pub mod resources;
mod signals;
pub mod state;
mod stop;
pub mod threads;
mod wake;

pub use buffers::BufferManager;
pub use components::{Component, ComponentCoordinator, ComponentError, ComponentOptions};
pub use evenkeel_core::state::ComponentState;
pub use keel::{BuildError, Builder, Channel, Keel, RunUntilSignal, main, plan_of};
pub use monitoring::MonitoringCoordinator;
pub use resources::{PoolOptions, ResourcePool};
pub use stop::{Progress, Stopped};

/// What most users need.
pub mod prelude {
    pub use crate::cleanup::{Backoff, Phase, Step, Verdict};
    pub use crate::resources::ResourceManager;
    pub use crate::{Channel, ComponentOptions, Keel, Seconds};
}

/// Durations as people say them: `20.seconds()`.
pub trait Seconds {
    /// So many seconds.
    fn seconds(self) -> std::time::Duration;
    /// So many milliseconds.
    fn milliseconds(self) -> std::time::Duration;
}

impl Seconds for u64 {
    fn seconds(self) -> std::time::Duration {
        std::time::Duration::from_secs(self)
    }

    fn milliseconds(self) -> std::time::Duration {
        std::time::Duration::from_millis(self)
    }
}
