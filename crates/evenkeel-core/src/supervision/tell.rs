//! So many faults are told one by one, the others as a summary.

use super::message::{Summary, Trouble};
use super::policy::Limits;
use crate::Mono;
use crate::fault::FaultClass;

/// The period of a channel in which something was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// Its end; `None` while nothing was told.
    pub(super) ends: Option<Mono>,
    told: u32,
    summary: Option<Summary>,
}

impl Window {
    /// Takes in a fault. Returns whether it is told by itself.
    pub(super) fn admits(&mut self, limits: &Limits, now: Mono, trouble: &Trouble) -> bool {
        self.ends.get_or_insert(now.plus(limits.tell_period));
        if self.told < limits.tells_max {
            self.told += 1;
            return true;
        }
        let this = (trouble.fault, now);
        let summary = self.summary.get_or_insert(Summary {
            count: 0,
            first: this,
            last: this,
            severity: trouble.severity,
            by_class: [0; FaultClass::ALL.len()],
        });
        summary.count += 1;
        summary.last = this;
        summary.severity = summary.severity.max(trouble.severity);
        summary.by_class[trouble.code.class().index()] += 1;
        false
    }

    /// The period is over. What was not told by itself.
    pub(super) fn end(&mut self) -> Option<Summary> {
        (self.ends, self.told) = (None, 0);
        self.summary.take()
    }
}
