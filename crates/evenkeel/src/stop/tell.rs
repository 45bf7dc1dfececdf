//! `ek-tell`: shows people how a stop goes, and never holds it up.

use super::Stopped;
use crate::cleanup::contained_call;
use evenkeel_core::cleanup::{Phase, Verdict};
use std::io;
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

/// The side that tells.
#[derive(Clone)]
pub(crate) struct Tell(SyncSender<Progress>);

impl Tell {
    /// Starts the thread that calls `listener`, one call at a time.
    pub(crate) fn start(listener: Box<dyn Fn(&Progress) + Send>) -> io::Result<Self> {
        let (sender, told) = sync_channel::<Progress>(WAITING_MAX);
        std::thread::Builder::new().name("ek-tell".to_owned()).spawn(move || {
            for progress in told {
                contained_call(|| listener(&progress));
            }
        })?;
        Ok(Self(sender))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        let _ = self.0.try_send(progress);
    }
}
