//! What goes wrong in a recorder, told to whoever looks after faults.
//!
//! The texts of the hub are for who has the recorder in hand; what leaves the process is the public face of the fault that
//! is reported here, and the text goes into the journal with it. A recorder sees to its sources itself: its faults are
//! told, and what it does about them is told beside them.

use super::Hub;
use evenkeel::faults::{Code, FaultCoordinator, FaultId, Severity};
use evenkeel_hierarchy::with_root;

/// Something that went wrong: what kind of fault it is, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    pub(crate) text: String,
}

impl Trouble {
    /// A source that cannot be read.
    pub(crate) fn of_source(text: String) -> Self {
        Self { code: Code::SOURCE, severity: Severity::Error, text }
    }

    /// One of many connections, or the last words of a command: the source goes on.
    pub(crate) fn in_passing(text: String) -> Self {
        Self { severity: Severity::Warning, ..Self::of_source(text) }
    }

    /// Nothing went wrong, and whoever looks into what is recorded should know of it.
    pub(crate) fn notice(text: String) -> Self {
        Self { severity: Severity::Notice, ..Self::of_source(text) }
    }

    /// A command that failed.
    pub(crate) fn of_command(text: String) -> Self {
        Self { code: Code::EXITED, ..Self::of_source(text) }
    }

    pub(crate) fn panicked(text: &str) -> Self {
        Self { code: Code::PANIC, ..Self::of_source(text.to_owned()) }
    }

    pub(crate) fn of_journal(text: String) -> Self {
        Self { code: Code::JOURNAL, severity: Severity::Warning, text }
    }
}

impl Hub {
    /// From now on faults are reported there, too.
    pub(crate) fn report_to(&self, faults: FaultCoordinator) {
        // Once is enough: a recorder has one service.
        let _ = self.faults.set(faults);
    }

    /// Reports a fault of a channel.
    pub(super) fn report(&self, channel: usize, trouble: &Trouble) -> Option<FaultId> {
        let faults = self.faults.get()?;
        let name = self.with(|state| state.channels[channel].counts.name.clone());
        let fault = faults.fault_in(&name, trouble.code, trouble.severity);
        Some(fault.text(trouble.text.as_str()).report())
    }

    /// Reports a fault of the log, which is no channel's.
    pub(crate) fn report_log(&self, code: Code, severity: Severity, text: &str) {
        if let Some(faults) = self.faults.get() {
            faults.fault(code, severity).component("log").text(text).report();
        }
    }

    /// The command of a channel runs again: that was done about its last fault.
    pub(super) fn report_restart(&self, channel: usize) {
        let Some(faults) = self.faults.get() else { return };
        let (name, fault, restarts) = with_root(|house| {
            let state = self.state.lock(house);
            let of = &state.channels[channel];
            (of.counts.name.clone(), of.fault, of.counts.restarts)
        });
        if let Some(fault) = fault {
            let level = u32::try_from(restarts).unwrap_or(u32::MAX);
            faults.note_restart(fault, Code::EXITED, &name, level);
        }
    }
}
