//! What waits between those who bring and those who take: bounded queues by channel, on the pool that the
//! monitoring created.
//!
//! ```text
//! pool --> Inlet of a channel --> its queue --> Outlet --> whoever writes, sends, compares
//!          waits, drops,          bounded,      by weight
//!          makes room             counted
//! ```
//!
//! [`Queues`] is the engine, a plain value; [`BufferQueues`] puts one under a lock, with those who wait; the
//! [`BufferManager`] knows all of them, flushes, and verifies that nobody holds anything any more.

mod error;
mod flush;
mod inlet;
mod limits;
mod outlet;
mod queues;
mod set;

pub use error::{BufferError, NotPut, Why};
pub use flush::{Flush, FlushProgress, NotFlushed, QueueStatus};
pub use inlet::{Dropped, Inlet};
pub use limits::{OnFull, QueueCounts, QueueLimits, Queued};
pub use outlet::{Ended, Outlet};
pub use queues::{Pushed, Queues};
pub use set::BufferQueues;

use crate::resources::{CountedHolder, ResourcePool, is_own_thread};
use evenkeel_core::check_name;
use evenkeel_hierarchy::{BufferCleanup, Mutex, with_root};
use flush::Set;
use std::fmt;
use std::sync::{Arc, Weak};

/// Queues of different kinds that there may be at once.
const SETS_MAX: usize = 256;

/// Queues of each kind, by name: whoever made them keeps them.
type Sets = Vec<(Arc<str>, Weak<dyn Set>)>;

/// Knows all queues, and the pool that what waits in them was taken from. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct BufferManager {
    pool: ResourcePool,
    /// Who cleans up goes through all of them.
    sets: Arc<Mutex<BufferCleanup, Sets>>,
}

impl fmt::Debug for BufferManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferManager").field("queues", &self.statuses()).finish_non_exhaustive()
    }
}

/// Somebody still holds something: who, and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("still held: {}", .held.join("; "))]
pub struct NotEmpty {
    /// One line for each.
    pub held: Vec<String>,
}

impl BufferManager {
    /// Works on the pool that the monitoring created.
    pub fn new(pool: ResourcePool) -> Self {
        Self { pool, sets: Arc::default() }
    }

    /// The pool that it works on.
    pub fn pool(&self) -> &ResourcePool {
        &self.pool
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sets) -> T) -> T {
        with_root(|house| act(&mut self.sets.lock(house)))
    }

    fn sets(&self) -> Vec<Arc<dyn Set>> {
        self.with(|sets| sets.iter().filter_map(|(_, set)| set.upgrade()).collect())
    }

    /// Makes queues for items of one kind: one for each channel, as they are opened.
    ///
    /// # Errors
    /// [`BufferError`]: the name, or that there are too many.
    pub fn queues<T: Queued + Send + 'static>(&self, name: &str) -> Result<BufferQueues<T>, BufferError> {
        check_name(name)?;
        let made = BufferQueues::new(name);
        let set: Weak<dyn Set> = Arc::downgrade(&(made.0.clone() as Arc<dyn Set>));
        self.with(|sets| {
            sets.retain(|(_, set)| set.strong_count() > 0);
            if sets.iter().any(|(known, _)| **known == *name) {
                return Err(BufferError::Duplicate { name: name.to_owned() });
            }
            if sets.len() >= SETS_MAX {
                return Err(BufferError::TooMany { name: name.to_owned(), allowed: SETS_MAX });
            }
            sets.push((name.into(), set));
            Ok(made)
        })
    }

    /// Every queue, as it is.
    pub fn statuses(&self) -> Vec<QueueStatus> {
        self.sets().iter().flat_map(|set| set.statuses()).collect()
    }

    /// Begins to wait for what has been put in so far, of one channel or of all.
    pub fn flush(&self, channel: Option<&str>) -> Flush {
        Flush::begin(self.sets(), channel)
    }

    /// Checks that nothing waits, nobody has something in hand, and nobody holds buffers any more; names whoever does.
    ///
    /// # Errors
    /// [`NotEmpty`], in words.
    pub fn verify_empty(&self) -> Result<(), NotEmpty> {
        let mut held = Vec::new();
        for set in self.sets() {
            for QueueStatus { queues, channel, counts, .. } in set.statuses() {
                if counts.entries > 0 {
                    let QueueCounts { items, bytes, .. } = counts;
                    held.push(format!("{items} items ({bytes} bytes) of {channel} wait in {queues}"));
                }
            }
            let ((in_hand, unfinished), name) = (set.in_hands(), set.name());
            if in_hand > 0 {
                held.push(format!("{in_hand} entries were taken out of {name}, and are not done with"));
            }
            if unfinished > 0 {
                held.push(format!("{unfinished} entries were taken out of {name} by somebody who panicked"));
            }
        }
        held.extend(self.pool.holders().iter().map(|holder| format!("{} bytes by {holder}", holder.bytes)));
        let counted = self.pool.counted_holders().into_iter().filter(|holder| !is_own_thread(holder));
        held.extend(counted.map(|CountedHolder { kind, channel, component, site, units, .. }| {
            format!("{units} {kind} by {channel}/{component}, taken at {site}")
        }));
        if held.is_empty() { Ok(()) } else { Err(NotEmpty { held }) }
    }
}
