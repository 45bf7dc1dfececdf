//! Describing a service, and putting it together in the one right order.

use super::{Inner, Keel};
use crate::buffers::BufferManager;
use crate::cleanup::{CleanupCoordinator, Spawn};
use crate::clock;
use crate::components::ComponentCoordinator;
use crate::faults::{FaultCoordinator, Limits, Means, Policies};
use crate::journal::{Journal, JournalOptions};
use crate::monitoring::MonitoringCoordinator;
use crate::resources::{self, PoolOptions};
use crate::signals::Signals;
use crate::state::{Past, States};
use crate::stop::{AskChannels, Progress, Request, Setup, Shared, Tell, cleanup_state};
use crate::threads::ThreadCoordinator;
use evenkeel_core::cleanup::ChannelReport;
use evenkeel_log::storage::{DirStorage, Storage};
use serde_json::json;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a service could not be put together. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The journal cannot be used.
    #[error("the journal in {place}: {source}")]
    Journal {
        /// Its directory.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Signals, descriptors or threads are not to be had.
    #[error("the stop cannot be prepared: {0}")]
    Stop(io::Error),
    /// The resource pool cannot be made.
    #[error("the resource pool: {0}")]
    Pool(#[from] resources::BuildError),
    /// A grace period of nothing.
    #[error("a grace period of zero lets nothing stop; more is needed")]
    NoGrace,
}

type Listener = Box<dyn Fn(&Progress) + Send>;

/// Where the journal is.
enum Place {
    Directory(PathBuf),
    Storage(Arc<dyn Storage>),
}

/// Describes a service; see [`Keel::builder`].
#[must_use = "a service that is not built does nothing"]
pub struct Builder {
    name: String,
    journal: Option<Place>,
    journal_options: JournalOptions,
    past: Option<Past>,
    grace: Duration,
    concurrency_max: usize,
    pool: PoolOptions,
    threads: Option<ThreadCoordinator>,
    supervision: (Policies, Limits),
    report: Option<PathBuf>,
    channels: Option<AskChannels>,
    strict: bool,
    listener: Option<Listener>,
    runtime: Option<Arc<dyn Spawn>>,
    hears_signals: bool,
    may_exit: bool,
    is_deferred: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).field("grace", &self.grace).finish()
    }
}

impl Builder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            journal: None,
            journal_options: JournalOptions::default(),
            past: None,
            grace: Duration::from_secs(20),
            concurrency_max: 16,
            pool: PoolOptions::default(),
            threads: None,
            supervision: (Policies::default(), Limits::default()),
            report: None,
            channels: None,
            strict: false,
            listener: None,
            runtime: None,
            hears_signals: true,
            may_exit: true,
            is_deferred: false,
        }
    }

    /// Keeps a journal in this directory, which is created where it is missing. None is
    /// kept if nothing is said.
    pub fn journal(mut self, directory: impl Into<PathBuf>) -> Self {
        self.journal = Some(Place::Directory(directory.into()));
        self
    }

    /// Keeps a journal on a storage of the caller's.
    pub fn journal_on(mut self, storage: Arc<dyn Storage>) -> Self {
        self.journal = Some(Place::Storage(storage));
        self
    }

    /// Limits of the journal.
    pub fn journal_options(mut self, options: JournalOptions) -> Self {
        self.journal_options = options;
        self
    }

    /// What is known of state machines that ran before: each goes on where it was when it is made again. It is
    /// read from the journal if nothing is said.
    pub fn past(mut self, past: Past) -> Self {
        self.past = Some(past);
        self
    }

    /// What a stop may take in all; 20 s if nothing is said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Steps of a stop that run at once; 16 if nothing is said.
    pub fn concurrency(mut self, steps_max: usize) -> Self {
        self.concurrency_max = steps_max.max(1);
        self
    }

    /// The resource pool: its memory, and what whoever asks may have of it.
    pub fn pool(mut self, options: PoolOptions) -> Self {
        self.pool = options;
        self
    }

    /// Threads and jobs on a coordinator of the caller's. One with the defaults is made if nothing is said.
    pub fn threads(mut self, threads: ThreadCoordinator) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What is done about which fault, how often and how long; the documented defaults if nothing is said.
    pub fn supervision(mut self, policies: Policies, limits: Limits) -> Self {
        self.supervision = (policies, limits);
        self
    }

    /// Where the report of the stop goes, by rename, when everything is closed.
    pub fn report(mut self, file: impl Into<PathBuf>) -> Self {
        self.report = Some(file.into());
        self
    }

    /// Says what became of each channel, and whether nothing had to be dropped; asked
    /// at the end of a stop, on a thread of its own, for a quarter of a second at most.
    pub fn channel_reports(
        mut self,
        ask: impl Fn() -> (Vec<ChannelReport>, bool) + Send + Sync + 'static,
    ) -> Self {
        self.channels = Some(Arc::new(ask));
        self
    }

    /// A stop that is clean exits with 1 all the same when a channel had to drop something, as its
    /// [report](Self::channel_reports) says; 0 if nothing is said. `clean` and `complete` of the report stay as they are.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Is told how a stop goes, on a thread of its own. What it cannot keep up with is left out.
    pub fn on_progress(mut self, listener: impl Fn(&Progress) + Send + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Where async steps run. Without one, each is driven on a thread of its own.
    pub fn runtime(mut self, runtime: impl Spawn + 'static) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    #[cfg(feature = "tokio")]
    pub(super) fn has_runtime(&self) -> bool {
        self.runtime.is_some()
    }

    /// No stop begins before [`Keel::arm`]: a first signal is kept until then, a second
    /// one forces. For a setup that must not be cut in half.
    pub fn deferred(mut self) -> Self {
        self.is_deferred = true;
        self
    }

    /// Does not listen to SIGTERM, SIGINT and SIGHUP.
    pub fn without_signals(mut self) -> Self {
        self.hears_signals = false;
        self
    }

    /// Never ends the process. Otherwise a stop that a signal asked for, that ran out of time, or
    /// that left something running does so at the end of its grace period at the
    /// latest, and a forced one a second after its report.
    pub fn keep_process(mut self) -> Self {
        self.may_exit = false;
        self
    }

    /// Puts everything together. From here on signals stop the service.
    ///
    /// # Errors
    /// [`BuildError`]; nothing is left running.
    pub fn build(self) -> Result<Keel, BuildError> {
        if self.grace.is_zero() {
            return Err(BuildError::NoGrace);
        }
        let threads = self.threads.unwrap_or_default();
        let (journal, past) = match self.journal {
            None => (None, self.past.unwrap_or_default()),
            Some(place) => {
                let (journal, past) = open_journal(&threads, place, self.journal_options, self.past)?;
                (Some(journal), past)
            }
        };
        let monitoring = MonitoringCoordinator::new(self.pool.threads_max(threads.threads_max()))?;
        let states = States::new(threads.clone(), journal.clone(), past);
        let components = ComponentCoordinator::new(monitoring.pool().clone(), states.clone());
        let buffers = BufferManager::new(monitoring.pool().clone());
        let cleanup = CleanupCoordinator::default();
        let shared = Shared::new().map_err(BuildError::Stop)?;
        let faults = start_faults(&threads, &shared, (journal.as_ref(), &states), self.supervision)?;
        look_after_pool(&monitoring, &components, &cleanup, (&threads, &faults));
        if let Some(journal) = &journal {
            begin_journal(journal, &self.name, self.grace, (&shared, &threads));
        }
        let state = cleanup_state(&states);
        let stop_state = state.reader();
        let signals = self.hears_signals.then(Signals::register).transpose().map_err(BuildError::Stop)?;
        let setup = Setup {
            shared: shared.clone(),
            coordinator: cleanup.clone(),
            signals,
            journal: journal.clone(),
            runtime: self.runtime,
            grace: self.grace,
            concurrency_max: self.concurrency_max,
            report_path: self.report,
            channels: self.channels,
            strict: self.strict,
            tell: self
                .listener
                .map(|listener| Tell::start(&threads, listener))
                .transpose()
                .map_err(BuildError::Stop)?,
            may_exit: self.may_exit,
            threads: threads.clone(),
            state,
            faults: Some(faults.clone()),
        };
        if !self.is_deferred {
            shared.arm();
        }
        setup.start().map_err(BuildError::Stop)?;
        Ok(Keel(Arc::new(Inner {
            name: self.name,
            shared,
            cleanup,
            monitoring,
            components,
            states,
            stop_state,
            buffers,
            threads,
            faults,
            journal,
            grace: self.grace,
            concurrency_max: self.concurrency_max,
        })))
    }
}

/// What crosses a boundary in the pool is reported, what is taken from it is released at a stop, who holds too much is told of,
/// and threads are in its books.
fn look_after_pool(
    monitoring: &MonitoringCoordinator,
    components: &ComponentCoordinator,
    cleanup: &CleanupCoordinator,
    (threads, faults): (&ThreadCoordinator, &FaultCoordinator),
) {
    faults.hear_of_pool(monitoring.pool());
    super::release::watch_over(monitoring.pool(), components, cleanup, (threads, faults.alerts()));
    if let Ok(account) = monitoring.account_of_service(resources::THREADS) {
        // Most run for as long as the service.
        account.set_counted_held_max(None);
        threads.count_in(&account);
    }
}

/// The journal's first word of this run, and what it hears and says from now on.
fn begin_journal(
    journal: &Journal,
    name: &str,
    grace: Duration,
    (shared, threads): (&Arc<Shared>, &ThreadCoordinator),
) {
    let nudged = shared.clone();
    journal.on_durable(move |_| nudged.nudge());
    let body = json!({
        "name": name, "pid": std::process::id(), "grace_ms": grace.as_millis() as u64,
        "threads_max": threads.threads_max(),
    });
    let _ = journal.append("start", None, body);
    super::threads::journal_events(threads, journal);
}

/// Starts what looks after faults. It has no handle of the journal: that is to end with the service.
fn start_faults(
    threads: &ThreadCoordinator,
    shared: &Arc<Shared>,
    (journal, states): (Option<&Journal>, &States),
    (policies, limits): (Policies, Limits),
) -> Result<FaultCoordinator, BuildError> {
    let asked = Arc::downgrade(shared);
    let stop = move |reason| {
        if let Some(shared) = asked.upgrade() {
            shared.request(Request::of_program(reason, "evenkeel's supervision".to_owned()));
        }
    };
    let journal = journal.map(|journal| Box::new(journal.downgrade()) as _);
    let seed = clock::wall_ns() ^ (u64::from(std::process::id()) << 32);
    let (threads, states, stop) = (threads.clone(), states.clone(), Box::new(stop));
    let means = Means { threads: threads.clone(), states, journal, policies, limits, seed, stop };
    let faults = FaultCoordinator::start(means).map_err(|error| BuildError::Stop(error.into()))?;
    faults.hear_of(&threads);
    Ok(faults)
}

/// The journal, and what it says of state machines that ran before.
fn open_journal(
    threads: &ThreadCoordinator,
    place: Place,
    options: JournalOptions,
    past: Option<Past>,
) -> Result<(Journal, Past), BuildError> {
    let (place, storage) = match place {
        Place::Directory(path) => {
            let place = path.display().to_string();
            let opened = DirStorage::create(&path).map(|storage| Arc::new(storage) as Arc<dyn Storage>);
            (place, opened)
        }
        Place::Storage(storage) => ("its storage".to_owned(), Ok(storage)),
    };
    let opened = storage.and_then(|storage| {
        let (journal, _) = Journal::open_on(threads, storage.clone(), options)?;
        // What was not whole is recovered by now.
        let past = past.map_or_else(|| Past::read(&*storage), Ok)?;
        Ok((journal, past))
    });
    opened.map_err(|source| BuildError::Journal { place, source })
}
