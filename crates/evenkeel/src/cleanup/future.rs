//! Futures: on an embedder's runtime, or on a thread of their own.

use super::executor::Answer;
use super::step::Step;
use crate::callback::{call, message};
use evenkeel_core::cleanup::Outcome;
use evenkeel_hierarchy::with_root;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// A future that can be sent to another thread.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A runtime that async steps are given to. It is never waited for: what it does
/// not run is found out from outside.
pub trait Spawn: Send + Sync {
    /// Starts a future. Must not block.
    fn spawn(&self, future: BoxFuture<()>) -> Box<dyn Abort>;
}

/// Ends a future that was started.
pub trait Abort: Send {
    /// Asks for its end; the future is dropped when its runtime gets to it. Must not block.
    fn abort(&self);
}

#[cfg(feature = "tokio")]
impl Spawn for tokio::runtime::Handle {
    fn spawn(&self, future: BoxFuture<()>) -> Box<dyn Abort> {
        Box::new(tokio::runtime::Handle::spawn(self, future).abort_handle())
    }
}

#[cfg(feature = "tokio")]
impl Abort for tokio::task::AbortHandle {
    fn abort(&self) {
        tokio::task::AbortHandle::abort(self);
    }
}

/// A step's future that answers exactly once: with its outcome, with its panic, or,
/// when it is dropped before, as cancelled.
pub(crate) struct Answering {
    future: Option<BoxFuture<Outcome>>,
    answer: Answer,
    step: Step,
    has_begun: bool,
}

impl Answering {
    pub(crate) fn new(future: BoxFuture<Outcome>, answer: Answer, step: Step) -> Self {
        Self { future: Some(future), answer, step, has_begun: false }
    }

    fn end(&mut self, outcome: Outcome) {
        // A future's drop is a user's code too.
        let future = self.future.take();
        with_root(|house| {
            let outcome = match call(house, || drop(future)) {
                Ok(()) => outcome,
                Err(panic) => Outcome::Panicked(message(panic)),
            };
            self.answer.give(house, outcome);
        });
    }
}

impl Future for Answering {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_begun && !self.step.begin() {
            self.end(Outcome::Cancelled);
            return Poll::Ready(());
        }
        self.has_begun = true;
        let Some(future) = self.future.as_mut() else { return Poll::Ready(()) };
        let outcome = match with_root(|house| call(house, || future.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panic) => Outcome::Panicked(message(panic)),
        };
        self.end(outcome);
        Poll::Ready(())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

/// The flag is what counts: a future that parks its thread itself takes the token of an unpark.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::Release);
        self.0.unpark();
    }
}

/// Drives a future on this thread to its end, or until `is_over` at a wake-up. It
/// must not need a runtime of its own.
pub(crate) fn drive<F: Future>(mut future: Pin<&mut F>, is_over: impl Fn() -> bool) -> Option<F::Output> {
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(unpark.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        while !unpark.1.swap(false, Ordering::Acquire) {
            if is_over() {
                return None;
            }
            thread::park();
        }
    }
}
