//! How far the recovery of a channel has come, as a state machine that anybody may read and observe.
//!
//! The supervisor decides; the machine follows. Its observers are told aside, so that none runs on `ek-faults`.

use super::Inner;
use crate::state::{RECOVERY, RecoveryState, StateMachine, StateReader};
use evenkeel_core::supervision::{ChannelId, RecoveryStep};
use std::sync::Arc;

/// Name of the machine in its channel.
const NAME: &str = "recovery";
/// More changes than from any state to any other.
const CHANGES_MAX: usize = 12;

/// The machine of one channel.
#[derive(Clone, Debug)]
pub(super) struct Recovering(StateMachine<RecoveryState>);

impl Recovering {
    pub(super) fn reader(&self) -> StateReader<RecoveryState> {
        self.0.reader()
    }

    /// A part begins; what was done before, or needs no doing as the channel is cut off, is gone through.
    pub(super) fn begins(&self, step: RecoveryStep, cause: &str) {
        let target = match step {
            RecoveryStep::StopCapture => RecoveryState::StoppingCapture,
            RecoveryStep::Flush => RecoveryState::FlushingBuffers,
            RecoveryStep::Reinitialise => RecoveryState::Reinitialising,
            RecoveryStep::Verify => RecoveryState::VerifyingResources,
        };
        self.go(target, cause);
    }

    /// The last part ended well.
    pub(super) fn is_verified(&self, cause: &str) {
        self.go(RecoveryState::Completed, cause);
    }

    /// It did not help.
    pub(super) fn failed(&self, cause: &str) {
        let is_under_way =
            !matches!(self.0.state(), RecoveryState::Idle | RecoveryState::Completed | RecoveryState::Failed);
        if is_under_way {
            // Nobody else changes it; and what its table refuses is not so.
            let _ = self.0.try_change(RecoveryState::Failed, cause.to_owned());
        }
    }

    fn go(&self, target: RecoveryState, cause: &str) {
        for _ in 0..CHANGES_MAX {
            let next = match self.0.state() {
                state if state == target => return,
                RecoveryState::Completed => RecoveryState::Idle,
                RecoveryState::Idle | RecoveryState::Failed => RecoveryState::Initiating,
                RecoveryState::Initiating => RecoveryState::StoppingCapture,
                RecoveryState::StoppingCapture => RecoveryState::FlushingBuffers,
                RecoveryState::FlushingBuffers => RecoveryState::Reinitialising,
                RecoveryState::Reinitialising => RecoveryState::VerifyingResources,
                RecoveryState::VerifyingResources => RecoveryState::VerifyingComponents,
                RecoveryState::VerifyingComponents => RecoveryState::Completed,
            };
            if self.0.try_change(next, cause.to_owned()).is_err() {
                return;
            }
        }
    }
}

impl Inner {
    /// The machine of a channel; made when it is first needed, and not where its name is taken or the service is gone.
    pub(super) fn recovering(self: &Arc<Self>, id: ChannelId) -> Option<Recovering> {
        let (known, states, name) = self.with(|book| {
            let name = book.supervisor.tree().channel_name(id).clone();
            (book.channels[id.index()].recovering.clone(), book.states.clone(), name)
        });
        if known.is_some() {
            return known;
        }
        let builder = states?.machine_of(Some(name.as_str()), None, &RECOVERY, NAME);
        let machine = builder.anew().best_effort().observers_aside().build().ok().map(Recovering);
        // Of two who make it at once the registry has refused one.
        let mut made = machine.clone();
        self.with(|book| {
            if made.is_some() && book.states.is_some() {
                std::mem::swap(&mut book.channels[id.index()].recovering, &mut made);
            }
        });
        machine
    }
}
