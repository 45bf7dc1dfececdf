//! Faults, as a service and its channels report them and say what is to be done about them.

use super::{Channel, Keel};
use crate::faults::{
    Code, FaultBuilder, FaultCoordinator, Name, PublicFace, RecoveryBuilder, Severity, SuperviseBuilder,
    Supervision,
};
use crate::state::{RecoveryState, StateReader};

impl Keel {
    /// Faults, and what is done about them.
    pub fn faults(&self) -> &FaultCoordinator {
        &self.0.faults
    }

    /// Describes a component that channels share, to be supervised.
    pub fn supervise(&self, name: &str) -> SuperviseBuilder {
        self.0.faults.system().supervise(name)
    }
}

impl Channel {
    pub(crate) fn supervision(&self) -> &Supervision {
        self.supervision.get_or_init(|| {
            let name = Name::new(&self.name).expect("invariant: a channel's name is checked when it is made");
            self.keel.0.faults.channel(&name)
        })
    }

    /// Begins to report a fault of this channel. From any thread; it never waits.
    #[track_caller]
    pub fn fault(&self, code: Code, severity: Severity) -> FaultBuilder {
        self.supervision().fault(code, severity)
    }

    /// Describes a component of this channel, to be supervised.
    pub fn supervise(&self, name: &str) -> SuperviseBuilder {
        self.supervision().supervise(name)
    }

    /// Describes how this channel is recovered and cut off.
    pub fn recovery(&self) -> RecoveryBuilder {
        self.supervision().recovery()
    }

    /// What befell it last.
    pub fn last_fault(&self) -> Option<PublicFace> {
        self.supervision().last_fault()
    }

    /// Whether it is cut off: nothing of it is to run or to be taken in.
    pub fn is_isolated(&self) -> bool {
        self.supervision().is_isolated()
    }

    /// How far its recovery is, to read and observe: the machine `recovery` of the channel. `None` where that name is taken, or
    /// of too many channels.
    pub fn recovery_state(&self) -> Option<StateReader<RecoveryState>> {
        self.supervision().recovery_state()
    }

    /// Has it tried whether it works again, if it is cut off.
    pub fn release(&self) {
        self.supervision().release();
    }
}
