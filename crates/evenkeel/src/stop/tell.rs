//! `ek-tell`: shows people how a stop goes, and never holds it up.

use super::Stopped;
use crate::callback::call_alone;
use crate::threads::{Class, ThreadCoordinator};
use evenkeel_core::cleanup::{Phase, Verdict};
use evenkeel_hierarchy::with_root;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// What a stop tells on its way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// It begins.
    Stopping {
        /// Why.
        reason: String,
        /// Who or what asked for it.
        by: String,
    },
    /// A phase begins.
    PhaseBegan(Phase),
    /// A step has its verdict.
    StepEnded {
        /// The step.
        name: String,
        /// Its phase.
        phase: Phase,
        /// How it ended.
        verdict: Verdict,
        /// What is to be said of it.
        detail: Option<String>,
    },
    /// It is over.
    Stopped(Box<Stopped>),
}

/// What may wait to be told; more is left out: it stands in the report.
const WAITING_MAX: usize = 4096;
/// A user's code runs on it: as much as a thread has by default.
const STACK_BYTES: usize = 2 << 20;

/// The side that tells.
#[derive(Clone)]
pub(crate) struct Tell {
    sender: SyncSender<Progress>,
    waiting: Arc<AtomicUsize>,
}

impl Tell {
    /// Starts the thread that calls `listener`, one call at a time.
    pub(crate) fn start(
        threads: &ThreadCoordinator,
        listener: Box<dyn Fn(&Progress) + Send>,
    ) -> io::Result<Self> {
        // One place more, for the last word.
        let (sender, told) = sync_channel::<Progress>(WAITING_MAX + 1);
        let waiting = Arc::new(AtomicUsize::new(0));
        let heard = waiting.clone();
        let thread = threads.thread("ek-tell").class(Class::Monitoring).stack_bytes(STACK_BYTES).of_a_stop();
        thread.start(move |pulse| {
            with_root(|house| {
                while let Ok(progress) = pulse.waiting(|| told.recv()) {
                    heard.fetch_sub(1, Ordering::Relaxed);
                    call_alone(house, || listener(&progress));
                }
                call_alone(house, || drop(listener));
            });
        })?;
        Ok(Self { sender, waiting })
    }

    /// Only `ek-stop` tells.
    pub(crate) fn tell(&self, progress: Progress) {
        let is_last_word = matches!(progress, Progress::Stopped(_));
        if is_last_word || self.waiting.load(Ordering::Relaxed) < WAITING_MAX {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _ = self.sender.try_send(progress);
        }
    }
}
