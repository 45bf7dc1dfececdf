//! Threads that do one thing for as long as they live.

use super::book::{Care, Entry};
use super::core::Core;
use super::error::ThreadError;
use super::events::What;
use super::instant_after;
use super::job::{Answer, JobError, JobState, Meta, Runnable, Task};
use super::place::Place;
use super::slot::{Control, Kind, Pulse, Site};
use super::{HEARTBEAT_MIN, ThreadCoordinator};
use crate::callback::contained;
use crate::clock;
use evenkeel_core::threads::Class;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// Describes a thread; see [`ThreadCoordinator::thread`].
#[must_use = "a thread that is not started does nothing"]
pub struct ThreadBuilder<'a> {
    core: &'a Arc<Core>,
    name: String,
    class: Class,
    kind: Kind,
    stack_bytes: Option<usize>,
    place: Place,
    care: Care,
}

impl fmt::Debug for ThreadBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadBuilder").field("name", &self.name).field("class", &self.class).finish()
    }
}

impl ThreadCoordinator {
    /// Describes a thread that does one thing for as long as it lives. Its name, of 15 bytes at most, is the
    /// system's too.
    ///
    /// ```
    /// use evenkeel::threads::{Class, ThreadCoordinator};
    /// use std::sync::mpsc::channel;
    ///
    /// let threads = ThreadCoordinator::default();
    /// let (lines, arriving) = channel::<String>();
    /// let counter = threads.thread("counter").class(Class::Monitoring).start(move |pulse| {
    ///     let mut bytes = 0;
    ///     while let Ok(line) = pulse.waiting(|| arriving.recv()) {
    ///         bytes += line.len();
    ///     }
    ///     bytes
    /// })?;
    /// lines.send("twelve bytes".to_owned())?;
    /// drop(lines);
    /// assert_eq!(counter.join()?, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn thread(&self, name: impl Into<String>) -> ThreadBuilder<'_> {
        ThreadBuilder::new(self.core(), name.into())
    }
}

impl<'a> ThreadBuilder<'a> {
    pub(super) fn new(core: &'a Arc<Core>, name: String) -> Self {
        Self {
            core,
            name,
            class: Class::Processing,
            kind: Kind::Dedicated,
            stack_bytes: None,
            place: Place::default(),
            care: Care { heartbeat: Some(core.options.heartbeat), ..Care::default() },
        }
    }

    /// Its class, which decides on its stack and its priority where nothing else is said. Processing.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Bytes of its stack.
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// How often it beats at least while it works, 1 ms or more. The coordinator's, if nothing is said.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.care.heartbeat = Some(heartbeat.max(HEARTBEAT_MIN));
        self
    }

    /// Nobody looks whether it beats.
    pub fn unwatched(mut self) -> Self {
        self.care.heartbeat = None;
        self
    }

    /// How much of one processor it may use over a heartbeat, 0 to 1; more is reported as running away. What
    /// is no number is no limit.
    pub fn cpu_share_max(mut self, share: f32) -> Self {
        self.care.cpu_permille_max =
            Some((share.clamp(0.0, 1.0) * 1000.0) as u16).filter(|_| !share.is_nan());
        self
    }

    /// Its nice value, -20 (most urgent) to 19. What the system refuses is told as an event.
    pub fn nice(mut self, nice: i32) -> Self {
        self.place.nice = Some(nice);
        self
    }

    /// The processors that it runs on, counted from 0. What the system refuses is told as an event.
    pub fn pin_to(mut self, cores: &[usize]) -> Self {
        self.place.cores = cores.to_vec();
        self
    }

    /// Ends a wait of it, so that it looks at [`Pulse::should_stop`]. Called when it is asked to stop, from
    /// whoever asks: it must not block.
    pub fn wake_with(mut self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        self.care.wake = Some(Box::new(wake));
        self
    }

    /// Others see to its end: [`terminate`](ThreadCoordinator::terminate) neither asks it nor waits for it.
    pub fn kept(self) -> Self {
        self.of_kind(Kind::Kept)
    }

    /// Belongs to a stop: no limit holds it up, and no termination waits for it.
    pub(crate) fn of_a_stop(self) -> Self {
        self.of_kind(Kind::Stop).unwatched()
    }

    pub(super) fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`ThreadError`]: its name, the limit, or the system. `work` is dropped then.
    #[track_caller]
    pub fn start<T, F>(self, work: F) -> Result<ThreadHandle<T>, ThreadError>
    where
        F: FnOnce(&Pulse<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let site: Site = Location::caller();
        let Self { core, name, class, kind, stack_bytes, place, care } = self;
        if name.is_empty() || name.len() > 15 || name.contains('\0') {
            return Err(ThreadError::Name { name });
        }
        let meta = Meta {
            noun: "thread",
            name: name.clone().into(),
            class,
            channel: None,
            site,
            given: clock::mono(),
            control: Control::default(),
        };
        let task = Task::new(meta, work);
        let place = Place { nice: place.nice.or(core.options.nice[class.index()]), ..place };
        let stack_bytes = stack_bytes.unwrap_or(core.options.stack_bytes[class.index()]);
        let is_watched = care.heartbeat.is_some() || care.cpu_permille_max.is_some();
        let entry = core.book.enter(name, class, (kind, care), site)?;
        let (running, theirs) = (task.clone(), entry.clone());
        core.spawn(&entry, stack_bytes, move |core| live(core, &theirs, &place, running))?;
        if is_watched {
            core.watch();
        }
        Ok(ThreadHandle { task, entry })
    }
}

/// The life of a dedicated thread.
fn live<F, T>(core: &Arc<Core>, entry: &Arc<Entry>, place: &Place, task: Arc<Task<F, T>>)
where
    F: FnOnce(&Pulse<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    let slot = &entry.slot;
    for why in place.take() {
        core.tell(slot, None, What::NotPlaced { why });
    }
    slot.busy(clock::mono());
    let panicked = task.run(slot);
    slot.waits();
    if let Some(message) = panicked {
        core.tell(slot, None, What::Died { message });
    }
    // The answer, when nobody waits for it, is a user's.
    contained(|| drop(task));
}

/// A thread, from outside. Dropping it leaves the thread alone.
pub struct ThreadHandle<T> {
    task: Arc<dyn Answer<T>>,
    entry: Arc<Entry>,
}

impl<T> fmt::Debug for ThreadHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle").field("name", &self.name()).field("state", &self.state()).finish()
    }
}

impl<T> ThreadHandle<T> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.entry.slot.name
    }

    /// How it stands.
    pub fn state(&self) -> JobState {
        self.task.state()
    }

    /// Asks it to end, and wakes it out of a wait if it said how. Does not wait.
    pub fn stop(&self) {
        self.entry.stop();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`JobError::Panicked`].
    ///
    /// # Panics
    /// When the answer was taken before, by [`join_for`](Self::join_for).
    pub fn join(self) -> Result<T, JobError> {
        self.task.take(None).expect("the answer of a thread is given once")
    }

    /// Waits for its end, for so long at most; `None` when it goes on, or when this was answered before.
    pub fn join_for(&mut self, patience: Duration) -> Option<Result<T, JobError>> {
        self.task.take(Some(instant_after(patience)))
    }
}
