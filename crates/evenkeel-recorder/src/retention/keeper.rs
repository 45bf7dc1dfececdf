//! The thread `ek-retention`.

use super::{Removal, is_too_full, removal};
use crate::config::Retention;
use evenkeel::journal::{ENTRY_BYTES_MAX, Journal};
use evenkeel::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_hierarchy::{Condvar, Mutex, RecorderRetention, with_root};
use evenkeel_log::storage::Storage;
use evenkeel_log::{Anchor, RETENTION_KIND, SealedFile, remove_segments, sealed_segments, segment_names};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at the disk and the clock.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long an entry may take to the journal's disk before the removal is put off.
const ENTRY_PATIENCE: Duration = Duration::from_secs(1);
/// Who drops the keeper waits for it no longer than this.
const DROP_GRACE: Duration = Duration::from_secs(2);
/// Segments removed at once; between two of these a close is noticed.
const BATCH_SEGMENTS: usize = 16;
/// More than an entry has around its body, in bytes.
const ENTRY_FRAME_BYTES: usize = 1024;

/// Removes old segments beside a recorder at work. Close it before the directory is given
/// up and before the journal is ended.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<RecorderRetention, State>,
    changed: Condvar,
}

struct State {
    /// The last segment that may go.
    sealed_through: u64,
    /// To look at once.
    wanted: bool,
    closing: bool,
    /// The thread has ended, and all that it had is dropped; or there was none.
    gone: bool,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    /// Waits until it is time to look; up to which segment, or `None` to end.
    fn wait(&self) -> Option<u64> {
        let until = Instant::now() + LOOK_EVERY;
        with_root(|house| {
            let mut state = self.state.lock(house);
            while !state.closing && !state.wanted {
                if self.changed.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
            state.wanted = false;
            (!state.closing).then_some(state.sealed_through)
        })
    }

    fn is_closing(&self) -> bool {
        self.with(|state| state.closing)
    }
}

impl Keeper {
    /// Starts the thread; where no limit is set there is none. All segments that are sealed
    /// now may go, of those to come the ones that [`Keeper::sealed`] names.
    ///
    /// `told` is called from the thread with what was removed, or why nothing can be. It is
    /// dropped when the thread ends, with what it holds.
    ///
    /// # Errors
    /// When the directory cannot be listed or the thread cannot be started.
    pub(crate) fn start(
        threads: &ThreadCoordinator,
        storage: Arc<dyn Storage>,
        retention: Retention,
        journal: Option<Journal>,
        told: impl Fn(Result<String, String>) + Send + 'static,
    ) -> io::Result<Self> {
        let names = segment_names(&*storage)?;
        let sealed = names.iter().filter_map(|name| name.strip_suffix(".mcap")?.parse().ok());
        let asked = retention != Retention::default();
        let state =
            State { sealed_through: sealed.max().unwrap_or(0), wanted: true, closing: false, gone: !asked };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        if asked {
            let work = Work {
                shared: shared.clone(),
                storage,
                retention,
                journal,
                told: Box::new(told),
                segments: None,
                appended: None,
                told_through: None,
                owed: None,
                last_fault: None,
            };
            let builder =
                threads.thread("ek-retention").class(Class::Monitoring).stack_bytes(256 << 10).kept();
            builder.start(move |pulse| work.run(pulse))?;
        }
        Ok(Self { shared })
    }

    /// Says that a segment is sealed and, best, was read back: it and those before it may go.
    /// Never blocks.
    pub(crate) fn sealed(&self, number: u64) {
        self.shared.with(|state| {
            state.sealed_through = state.sealed_through.max(number);
            state.wanted = true;
        });
        self.shared.changed.notify_all();
    }

    /// Ends the thread; `false` when it has not ended in time: then it may still remove what
    /// it was about to, a few segments that the journal tells of. Can be called again.
    pub(crate) fn close(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        self.shared.with(|state| state.closing = true);
        self.shared.changed.notify_all();
        with_root(|house| {
            let mut state = self.shared.state.lock(house);
            while !state.gone && !self.shared.changed.wait_until(&mut state, until).timed_out() {}
            state.gone
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.close(DROP_GRACE);
    }
}

/// Tells that the thread is gone, however it went.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.with(|state| state.gone = true);
        self.0.changed.notify_all();
    }
}

/// An entry that was appended and is not durable yet.
struct Appended {
    entry: u64,
    through: u64,
}

/// What the thread has.
struct Work {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    retention: Retention,
    journal: Option<Journal>,
    told: Box<dyn Fn(Result<String, String>) + Send>,
    /// The segments that may go, and up to where they were asked for; `None` to ask again.
    segments: Option<(u64, Vec<SealedFile>)>,
    appended: Option<Appended>,
    /// Up to where the last durable entry tells of, and its number: a removal that failed is not told of again.
    told_through: Option<(u64, u64)>,
    /// Of a removal that had to come first: what the journal refused.
    owed: Option<Told>,
    last_fault: Option<String>,
}

/// What an entry says.
struct Told {
    anchor: Anchor,
    segments: u64,
    bytes: u64,
    why: String,
}

impl Work {
    fn run(self, pulse: &Pulse<'_>) {
        // Told last: when everything that it has is dropped.
        let _gone = Gone(self.shared.clone());
        self.live(pulse);
    }

    fn live(mut self, pulse: &Pulse<'_>) {
        while let Some(through) = pulse.waiting(|| self.shared.wait()) {
            match self.look(through) {
                Ok(told) => {
                    self.last_fault = None;
                    told.into_iter().for_each(|done| (self.told)(Ok(done)));
                }
                Err(fault) => {
                    if self.last_fault.as_ref() != Some(&fault) {
                        (self.told)(Err(fault.clone()));
                        self.last_fault = Some(fault);
                    }
                }
            }
        }
    }

    /// Looks once, and does what is to be done; answers what was done, or why it was not.
    fn look(&mut self, sealed_through: u64) -> Result<Option<String>, String> {
        self.pay();
        self.list(sealed_through)?;
        let segments = self.segments.as_ref().map_or(&[][..], |(_, segments)| segments);
        let free_bytes = match self.retention.min_free {
            Some(_) => self.storage.free_bytes().map_err(|e| format!("retention: free space: {e}"))?,
            None => u64::MAX,
        };
        let removal = removal(&self.retention, segments, free_bytes, crate::now().wall_ns);
        let going = segments[..removal.segments].to_vec();
        let Some(last) = going.last() else { return Ok(None) };
        if self.journal.is_none() {
            return Err("retention: nothing is removed, for there is no journal to tell of it".to_owned());
        }
        let anchor = Anchor::at(&*self.storage, last.number)
            .map_err(|e| format!("retention: nothing is removed: {e}"))?;
        let Removal { segments, bytes, why } = removal;
        let (segments, bytes) = (segments as u64, u64::try_from(bytes).unwrap_or(u64::MAX));
        let told = Told { anchor, segments, bytes, why: why.join(" and ") };
        let is_durable = self.allow(&told, is_too_full(&self.retention, free_bytes))?;
        // It includes what was owed before.
        self.owed = None;
        self.segments = None;
        let removed = self.remove(&going);
        let done = told.in_words();
        if !is_durable {
            self.owed = Some(told);
            self.pay();
        }
        let all_gone = removed?;
        if all_gone && let (Some(journal), Some((_, entry))) = (&self.journal, self.told_through) {
            // What was said of earlier removals is in this one.
            journal.keep_from(RETENTION_KIND, entry);
        }
        Ok(all_gone.then_some(done))
    }

    /// Tells of what had to be removed first.
    fn pay(&mut self) {
        if let Some(owed) = self.owed.take()
            && !self.tell(&owed)
        {
            self.owed = Some(owed);
        }
    }

    /// Brings the list of segments up to date.
    fn list(&mut self, sealed_through: u64) -> Result<(), String> {
        if self.segments.as_ref().is_some_and(|(through, _)| *through == sealed_through) {
            return Ok(());
        }
        let mut segments = sealed_segments(&*self.storage).map_err(|e| format!("retention: {e}"))?;
        segments.retain(|segment| segment.number <= sealed_through);
        self.segments = Some((sealed_through, segments));
        Ok(())
    }

    /// Whether the journal tells of the removal, durably; `false` where it is done first
    /// all the same. The error says why it is not done.
    fn allow(&mut self, told: &Told, is_too_full: bool) -> Result<bool, String> {
        if told.entry_bytes() > ENTRY_BYTES_MAX {
            let channels = told.anchor.channels.len();
            return Err(format!(
                "retention: nothing is removed: {channels} channels do not fit into an entry"
            ));
        }
        if self.tell(told) {
            return Ok(true);
        }
        let trouble = self.journal.as_ref().and_then(Journal::trouble);
        if is_too_full && trouble.is_some() {
            return Ok(false);
        }
        let why = trouble.unwrap_or_else(|| "the journal did not take the entry in time".to_owned());
        Err(format!("retention: nothing is removed: {why}"))
    }

    /// Tells the journal of a removal; whether it is durable there.
    fn tell(&mut self, told: &Told) -> bool {
        let Some(journal) = &self.journal else { return false };
        let through = told.anchor.through;
        if self.told_through.is_some_and(|(told, _)| told == through) {
            return true;
        }
        // One that waits already is not appended again.
        let waiting = self.appended.take().filter(|appended| appended.through == through);
        let entry = waiting.map(|appended| appended.entry).or_else(|| told.append_to(journal));
        let Some(entry) = entry else { return false };
        let is_durable = journal.wait_durable(entry, ENTRY_PATIENCE);
        if is_durable {
            self.told_through = Some((through, entry));
        } else {
            self.appended = Some(Appended { entry, through });
        }
        is_durable
    }

    /// Removes the segments; `false` when it was to end before all were gone.
    fn remove(&self, going: &[SealedFile]) -> Result<bool, String> {
        for batch in going.chunks(BATCH_SEGMENTS) {
            if self.shared.is_closing() {
                return Ok(false);
            }
            if let Some(last) = batch.last() {
                remove_segments(&*self.storage, last.number)
                    .map_err(|e| format!("retention: removing segments up to {:06}: {e}", last.number))?;
            }
        }
        Ok(true)
    }
}

impl Told {
    fn in_words(&self) -> String {
        let Self { anchor: Anchor { through, .. }, segments, bytes, why } = self;
        let (s, were) = if *segments == 1 { ("", "was") } else { ("s", "were") };
        format!(
            "retention: {segments} segment{s} up to {through:06}, {bytes} bytes, {were} removed for {why}"
        )
    }

    fn append_to(&self, journal: &Journal) -> Option<u64> {
        let body = self.anchor.entry(self.segments, self.bytes, &self.why);
        journal.append(RETENTION_KIND, None, body).map(|appended| appended.entry)
    }

    /// More than the entry takes.
    fn entry_bytes(&self) -> usize {
        ENTRY_FRAME_BYTES + self.anchor.entry(self.segments, self.bytes, &self.why).to_string().len()
    }
}
