//! A whole `main`.

use super::{Builder, Keel};
use crate::callback::{call, message};
use evenkeel_core::cleanup::exit;
use evenkeel_hierarchy::with_root;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// What a service's setup may answer.
type Started = Result<(), Box<dyn Error + Send + Sync>>;

/// Builds a service, sets it up, runs it until a signal or somebody stops it, and
/// answers with the exit code that says what was verified: 0 clean, 1 not clean, 3 could not
/// start, 4 forced, 5 out of time.
///
/// With the feature `tokio` the setup and all async steps run on a multi-threaded
/// runtime; without it the setup runs on this thread and must not need one.
/// Errors are told on standard error.
pub fn main<F>(builder: Builder, setup: F) -> ExitCode
where
    F: AsyncFnOnce(Keel) -> Started,
{
    let code = run(builder, setup).unwrap_or_else(|error| {
        // There may be no standard error to tell.
        let _ = writeln!(std::io::stderr(), "could not start: {error}");
        exit::CANNOT_START
    });
    ExitCode::from(code)
}

#[cfg(not(feature = "tokio"))]
fn run<F>(builder: Builder, setup: F) -> Result<u8, Box<dyn Error + Send + Sync>>
where
    F: AsyncFnOnce(Keel) -> Started,
{
    let keel = builder.build()?;
    let setup = std::pin::pin!(setup(keel.clone()));
    let started = contained(|| crate::cleanup::drive(setup, || false).unwrap_or(Ok(())));
    finish(&keel, started)
}

#[cfg(feature = "tokio")]
fn run<F>(mut builder: Builder, setup: F) -> Result<u8, Box<dyn Error + Send + Sync>>
where
    F: AsyncFnOnce(Keel) -> Started,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !builder.has_runtime() {
        builder = builder.runtime(runtime.handle().clone());
    }
    let keel = builder.build()?;
    let started = contained(|| runtime.block_on(setup(keel.clone())));
    let code = finish(&keel, started);
    // Its threads may hang; the process goes without them.
    runtime.shutdown_background();
    code
}

/// A setup that panics could not start the service; that is all.
fn contained(setup: impl FnOnce() -> Started) -> Started {
    let panicked = |panic| Err(format!("its setup panicked: {}", message(panic)).into());
    with_root(|house| call(house, setup)).unwrap_or_else(panicked)
}

fn finish(keel: &Keel, started: Started) -> Result<u8, Box<dyn Error + Send + Sync>> {
    if let Err(error) = started {
        keel.stop_unstarted(format!("could not start: {error}"), keel.name());
        return Err(error);
    }
    Ok(keel.wait().exit_code())
}
