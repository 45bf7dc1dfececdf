//! What a journal tells when it is read as a whole: incidents, and figures over all of them.
//!
//! ```text
//! entries, in order --> RecoveryLogger --> Incident, each when it is over
//!                            '-----------> Statistics, at the end
//! ```
//!
//! Pure: entries in, values out; no clock but the entries' own times, no thread, no file. [`analyse`] reads a storage.
//!
//! **An incident** is what went wrong in one channel, and all that followed. The rules:
//!
//! 1. It begins with a fault of severity error or worse, or a command that failed, in a channel that has no incident
//!    open. What concerns no channel is a channel of its own, the system. Its id is the entry's number: `I-00042`.
//! 2. To it belong: later faults of the channel; whatever names one of its faults, also in other channels
//!    (measures, recovery, dependents that were told); the channel's changes of state, commands, output, threads.
//! 3. All is well again when everything that failed works: a component when it runs again or its restart is done,
//!    everything when the channel's recovery is verified, the channel is released, or its command runs again.
//!    A fault within the settle time after that belongs to the same incident: a crash loop is one.
//! 4. It ends: when all is well, and the settle time passed ([`Ended::Recovered`], as of the moment when all was
//!    well); when nobody told that all is well, but nothing came for the settle time either ([`Ended::Quiet`]); with
//!    the run. A channel that was isolated or given up is not well because it is quiet.
//! 5. Time to repair is that of recovered incidents: from the first fault until all was well.
//!
//! Invariants:
//! 1. Memory is bounded, however long and however strange the journal is: every list and table here has a length at
//!    most, and what did not fit is counted.
//! 2. What is shown as public ([`Moment::public`], [`Incident::headline`]) has only the program's own words, checked
//!    names, codes and numbers; texts that others wrote are in [`Moment::text`] and [`Moment::causes`].
//! 3. An entry that is not understood is counted, and harms nothing.

mod incident;
mod incidents;
mod moment;
mod said;
mod spread;
mod statistics;
mod tally;

use crate::journal::{Entry, entries};
use evenkeel_log::ReadSummary;
use evenkeel_log::storage::Storage;
pub use incident::{Ended, Incident};
use incidents::Grouping;
pub use moment::{Moment, Role, in_words};
pub use spread::Spread;
pub use statistics::{
    CodeCount, Count, EdgeStats, Growth, MachineStats, RepairStats, RunEnd, RunStats, Statistics, StepStats,
};
use std::io;
use std::time::Duration;

/// Bounds of an analysis; `Default` has the documented values.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryLogOptions {
    /// How long nothing may have happened for an incident to be over: 60 s.
    pub settle: Duration,
    /// Entries of the channel that an incident has from before its beginning: 5.
    pub before_max: usize,
    /// Moments of one incident that are kept, the first and the latest: 200.
    pub moments_max: usize,
}

impl Default for RecoveryLogOptions {
    fn default() -> Self {
        Self { settle: Duration::from_secs(60), before_max: 5, moments_max: 200 }
    }
}

/// Reads a journal's entries, one after the other, and tells incidents and figures.
///
/// ```
/// use evenkeel::journal::{Journal, JournalOptions, entries};
/// use evenkeel::recovery_log::{Ended, RecoveryLogger};
/// use evenkeel_log::storage::DirStorage;
/// use serde_json::json;
/// use std::{sync::Arc, time::Duration};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let storage = Arc::new(DirStorage::create(dir.path())?);
/// let (journal, _) = Journal::open(storage.clone(), JournalOptions::default())?;
/// journal.append("child-failed", Some("left"), json!({ "fault": "exit code 3", "again_after_ms": 100 }));
/// journal.append("child", Some("left"), json!({ "pid": 42, "command": "capture left" }));
/// journal.finish(Duration::from_secs(10))?;
///
/// let (mut logger, mut incidents) = (RecoveryLogger::default(), Vec::new());
/// entries(&*storage, false, &mut |entry| {
///     logger.observe(&entry, &mut |incident| incidents.push(incident));
///     Ok(())
/// })?;
/// let statistics = logger.finish(&mut |incident| incidents.push(incident));
/// assert_eq!(incidents[0].ended, Ended::Recovered);
/// assert_eq!(statistics.repair[0].repaired, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct RecoveryLogger {
    grouping: Grouping,
    figures: statistics::Figures,
}

impl RecoveryLogger {
    /// One with other bounds.
    pub fn new(options: RecoveryLogOptions) -> Self {
        Self { grouping: Grouping::new(options), figures: statistics::Figures::default() }
    }

    /// Takes the next entry; `closed` gets the incidents that are over by it.
    pub fn observe(&mut self, entry: &Entry, closed: &mut dyn FnMut(Incident)) {
        let figures = &mut self.figures;
        figures.observe(entry);
        self.grouping.observe(entry, &mut |incident| {
            figures.incident(&incident);
            closed(incident);
        });
    }

    /// The journal ends here; `closed` gets the incidents that are left, those that are not over too.
    pub fn finish(self, closed: &mut dyn FnMut(Incident)) -> Statistics {
        let Self { grouping, mut figures } = self;
        let crowded_out = grouping.finish(&mut |incident| {
            figures.incident(&incident);
            closed(incident);
        });
        figures.finish(crowded_out)
    }
}

/// Analyses a whole journal. With `live`, a program is at work in it. What is damaged is left out and told by the
/// answer's `damaged`; `closed` gets each incident when it is over, in that order.
///
/// # Errors
/// What the storage says.
pub fn analyse(
    storage: &dyn Storage,
    live: bool,
    options: RecoveryLogOptions,
    closed: &mut dyn FnMut(Incident),
) -> io::Result<(Statistics, ReadSummary)> {
    let mut logger = RecoveryLogger::new(options);
    let read = entries(storage, live, &mut |entry| {
        logger.observe(&entry, closed);
        Ok(())
    })?;
    Ok((logger.finish(closed), read))
}

/// When an entry was appended, in nanoseconds since 1970; `None` where it says no time.
fn unix_ns(entry: &Entry) -> Option<u64> {
    said::nanoseconds(&entry.time)
}

#[cfg(test)]
mod tests;
