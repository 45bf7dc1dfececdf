//! What a run is told, and what it asks for.

use crate::Mono;
use crate::cleanup::{Phase, StepId};
use std::time::Duration;

/// How a part of a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// With an error.
    Failed(String),
    /// With a panic, and its message.
    Panicked(String),
    /// It was told to stop, and is gone.
    Cancelled,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The cleanup begins; comes first, once.
    Begin,
    /// Time has passed.
    Tick,
    /// The intent of a step is durable.
    Journalled {
        /// The step.
        step: StepId,
    },
    /// A step's run has ended.
    Ran {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// A step's verification has ended; `Failed` says what is not as it should be.
    Checked {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// A step's compensation has ended.
    Compensated {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// A step that makes progress asks for this much time from now on.
    Extend {
        /// The step.
        step: StepId,
        /// From now on.
        by: Duration,
    },
    /// End at once.
    Force {
        /// Who or what asked for it.
        by: String,
    },
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A phase begins.
    PhaseBegan(Phase),
    /// Every step of a phase has its verdict.
    PhaseEnded(Phase),
    /// Write into the journal that the step is about to run; answer with
    /// [`Event::Journalled`] when that is durable.
    Intent {
        /// The step.
        step: StepId,
        /// Counted from 1.
        attempt: u32,
    },
    /// Run it; answer with [`Event::Ran`].
    Run {
        /// The step.
        step: StepId,
        /// Counted from 1.
        attempt: u32,
        /// When it will be told to stop.
        deadline: Mono,
    },
    /// Verify it; answer with [`Event::Checked`].
    Verify {
        /// The step.
        step: StepId,
        /// When it will be told to stop.
        deadline: Mono,
    },
    /// Compensate it; answer with [`Event::Compensated`].
    Compensate {
        /// The step.
        step: StepId,
        /// When it will be told to stop.
        deadline: Mono,
    },
    /// Its time is up: tell it to stop. Whatever it was doing is still to be answered.
    Cancel {
        /// The step.
        step: StepId,
    },
    /// It has its verdict.
    Ended {
        /// The step.
        step: StepId,
    },
    /// Nothing more will be asked for.
    Finished(Ending),
}

/// How a cleanup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every step was given its chance.
    Completed,
    /// It was told to end at once.
    Forced {
        /// By whom or what.
        by: String,
    },
    /// The budget ran out: some step at least was cut short, or never begun, by
    /// the budget rather than by its own timeout.
    OutOfTime,
}
