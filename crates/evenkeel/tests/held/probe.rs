//! What is called: it looks whether the house's root is free, and calls all entries of a service.

use evenkeel::Keel;
use evenkeel::buffers::QueueLimits;
use evenkeel::cleanup::StepSpec;
use evenkeel::prelude::*;
use evenkeel::resources::Request;
use evenkeel::state::{COMPONENT, ComponentState};
use evenkeel_hierarchy::try_with_root;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Calls of one kind that come back to us; what they do calls others in its turn.
const BACK_MAX: u32 = 2;

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Probe {
    keel: OnceLock<Keel>,
    seen: Mutex<BTreeMap<&'static str, u32>>,
    changed: Condvar,
    faults: Mutex<Vec<String>>,
    names: AtomicU32,
}

/// Queues, from one end to the other.
fn queues(keel: &Keel, name: &str) {
    let queues = keel.buffers().queues::<Vec<u8>>(name).unwrap();
    let inlet = keel.channel("left").unwrap().inlet(&queues, QueueLimits::default()).unwrap();
    inlet.put(vec![1]).unwrap();
    let mut flush = keel.buffers().flush(Some("left"));
    assert_eq!(queues.outlet().take_now(1).unwrap().len(), 1);
    assert!(flush.wait_until(Instant::now() + 1.seconds(), |_| ()).is_ok());
}

impl Probe {
    /// From now on what is called comes back to this service.
    pub(crate) fn may_use(&self, keel: &Keel) {
        assert!(self.keel.set(keel.clone()).is_ok());
    }

    /// Something of a user's was called, or dropped.
    pub(crate) fn called(&self, kind: &'static str) {
        if try_with_root(|_| ()).is_err() {
            self.faults.lock().unwrap().push(format!("{kind}: a lock of the house may be held"));
        }
        let count = {
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(kind).or_default();
            *count += 1;
            *count
        };
        if count <= BACK_MAX
            && let Some(keel) = self.keel.get()
        {
            // Who calls us contains panics: they are told here.
            let back = catch_unwind(AssertUnwindSafe(|| self.enter_everywhere(keel)));
            if back.is_err() {
                self.faults.lock().unwrap().push(format!("{kind}: panicked in an entry"));
            }
        }
        self.changed.notify_all();
    }

    /// Waits until something of this kind was called.
    pub(crate) fn wait_for(&self, kind: &'static str) {
        let seen = self.seen.lock().unwrap();
        let limit = Duration::from_secs(20);
        let waited = self.changed.wait_timeout_while(seen, limit, |seen| !seen.contains_key(kind));
        let was_seen = waited.unwrap().0.contains_key(kind);
        assert!(was_seen, "never called: {kind}; what went wrong: {:?}", self.faults());
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// What was called and is none of these.
    pub(crate) fn unknown(&self, kinds: &[&str]) -> Vec<&'static str> {
        self.seen.lock().unwrap().keys().copied().filter(|kind| !kinds.contains(kind)).collect()
    }

    /// A value that calls when it is dropped.
    pub(crate) fn on_drop(self: &Arc<Self>, kind: &'static str) -> OnDrop {
        OnDrop { probe: self.clone(), kind }
    }

    /// Calls whatever a user can call.
    fn enter_everywhere(&self, keel: &Keel) {
        let name = format!("n{}", self.names.fetch_add(1, Ordering::Relaxed));
        let channel = keel.channel("left").unwrap();
        let component = channel.component(&name).unwrap();
        component.enter(evenkeel::ComponentState::Running).unwrap();
        assert_eq!(component.state(), evenkeel::ComponentState::Running);
        let shared = keel.component(&name).map(|shared| shared.stopped());
        assert!(shared.is_ok());
        assert!(!keel.components().list().is_empty());
        machines(keel, &name);
        // Once its release has begun it is given nothing.
        let held = channel.account("probe").unwrap().take(3);
        let _ = keel.buffers().verify_empty();
        let requested = channel.allocate(Request::bytes("left", "probe", 4));
        assert!(held.is_err() || keel.components().in_use() > 0);
        assert!(held.is_err() || !keel.monitoring().pool().holders().is_empty());
        drop((held, requested));
        let _ = (keel.monitoring().metrics(), keel.monitoring().verify_isolation());
        queues(keel, &name);
        let step = channel.cleanup(&name).timeout(1.seconds()).run_blocking(|_| ());
        if let Ok(step) = step.register() {
            assert!(step.unregister() || keel.is_stopping());
        }
        let spec = StepSpec::new(format!("{name}-2"), Phase::ReleasingResources);
        let _ = keel.cleanup_as(spec).run_blocking(|_| ()).register().map(|step| step.unregister());
        assert!(!format!("{keel:?}").is_empty());
        let _ = (keel.plan(), keel.forecast(), keel.worst_case());
        if let Some(journal) = keel.journal() {
            let _ = journal.append("probe", None, json!({}));
            let _ = journal.append_with_head("probe", Map::new(), "head");
            let _ = (journal.head(), journal.durable_through(), journal.trouble(), journal.refused());
            let _ = journal.wait_durable(u64::MAX, Duration::ZERO);
            journal.on_durable(|_| ());
            assert!(!format!("{journal:?}").is_empty());
        }
        let threads = keel.threads();
        let _ = (threads.snapshot(), threads.jobs(), threads.subscribe().next(Duration::ZERO));
        let _ = (threads.threads_max(), threads.not_stopped(), format!("{threads:?}"));
        threads.on_event(|_| ());
        let jobs =
            [channel.jobs().map(|jobs| jobs.job("probe").run(|_| ())), Ok(threads.job("probe").run(|_| ()))];
        for job in jobs.into_iter().flatten().flatten() {
            let _ = job.state();
            job.cancel();
        }
        if let Ok(thread) = threads.thread("probe").start(|_| ()) {
            thread.stop();
        }
        keel.arm();
        let _ = keel.wait_timeout(Duration::ZERO);
        let _ = pin!(keel.run_until_signal()).poll(&mut Context::from_waker(Waker::noop()));
        if keel.is_stopping() {
            keel.request_stop("again", "a callback");
        }
    }
}

/// Calls when it is dropped.
pub(crate) struct OnDrop {
    pub(crate) probe: Arc<Probe>,
    kind: &'static str,
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.probe.called(self.kind);
    }
}

/// A storage of a user's.
pub(crate) struct Watched {
    inner: SimStorage,
    probe: Arc<Probe>,
}

impl Watched {
    pub(crate) fn new(probe: Arc<Probe>) -> Self {
        Self { inner: SimStorage::new(), probe }
    }
}

struct WatchedFile {
    inner: Box<dyn AppendFile>,
    probe: Arc<Probe>,
}

impl AppendFile for WatchedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.probe.called("storage: append");
        self.inner.append(parts)
    }

    fn sync(&self) -> io::Result<()> {
        self.probe.called("storage: sync");
        self.inner.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.probe.called("storage: truncate");
        self.inner.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.probe.called("storage: preallocate");
        self.inner.preallocate(len)
    }
}

impl Storage for Watched {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.probe.called("storage: create");
        Ok(Box::new(WatchedFile { inner: self.inner.create(name)?, probe: self.probe.clone() }))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.probe.called("storage: reopen");
        Ok(Box::new(WatchedFile { inner: self.inner.reopen(name)?, probe: self.probe.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.probe.called("storage: open");
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.probe.called("storage: list");
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.probe.called("storage: rename");
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.probe.called("storage: remove");
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.probe.called("storage: sync_dir");
        self.inner.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.probe.called("storage: free_bytes");
        self.inner.free_bytes()
    }
}

/// Calls whatever a user can call of state machines.
fn machines(keel: &Keel, name: &str) {
    let (left, all) = (keel.channel("left").unwrap(), keel.states());
    let machine = left.machine(&COMPONENT, name).best_effort().build().unwrap();
    let begin = machine.checkpoint();
    let seen = machine.observe("probe", |_| ()).unwrap();
    let _ = (seen.status(), seen.machine(), format!("{seen:?} {machine:?}"));
    machine.change(ComponentState::Running, "probe").unwrap();
    drop(machine.propose(ComponentState::Stopping, "probe").unwrap());
    machine.try_change(ComponentState::Stopping, "probe").unwrap();
    let _ = (machine.rehearse(begin).unwrap(), machine.settled(Duration::ZERO), machine.history());
    let _ = machine.change_durable(ComponentState::Stopped, "probe", Duration::ZERO);
    machine.take_back(begin, "probe").unwrap();
    let _ = (machine.metrics(), machine.snapshot(), machine.check(), machine.observers(), machine.points());
    assert!(all.reader(machine.name(), &COMPONENT).is_ok() && all.view(machine.name()).is_some());
    let _ = (all.list(), all.check(), all.snapshot(), all.past(), format!("{all:?}"));
    let _ = (keel.stop_state().state(), keel.stop_state().history());
    all.on_event(|_| ());
    seen.keep();
}
