//! The thread that tells the user what is found, and finds long holds.

use super::event::{self, Event, Place};
use super::held::Hold;
use super::registry;
use super::thread;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread, `ek-lock-watch`, that hands on what is found. It stops when this is dropped.
///
/// Each event is told once: of two watches, one hears of it.
///
/// What it calls may lock and wait: the thread holds nothing, and nobody waits for it. A panic in it is
/// caught, and the next event is told all the same.
///
/// ```
/// use evenkeel_locks::watch::{Event, Watch};
/// use std::time::Duration;
///
/// let watch = Watch::start(Duration::from_millis(100), |event: Event| eprintln!("{event}"))?;
/// // .. the program ..
/// drop(watch);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropped at once it watches nothing"]
pub struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `tell` with each event from now on, those included of holds over `long_hold`, at least
    /// a millisecond, which are found when they have lasted a quarter longer at most.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(long_hold: Duration, tell: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let long_hold = long_hold.max(Duration::from_millis(1));
        let run = Run { is_over: Arc::clone(&is_over), long_hold, seen: Vec::new(), tell };
        let thread = std::thread::Builder::new().name("ek-lock-watch".to_owned()).spawn(move || run.run())?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        event::wake();
        let is_me = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !is_me(thread)) {
            // It catches panics of the user; there is no other.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

struct Run<F> {
    is_over: Arc<AtomicBool>,
    long_hold: Duration,
    seen: Vec<Seen>,
    tell: F,
}

/// A hold that was there at the last look.
struct Seen {
    thread: usize,
    hold: Hold,
    since: Instant,
    is_told: bool,
}

impl<F: FnMut(Event)> Run<F> {
    fn run(mut self) {
        while !self.is_over.load(Ordering::Relaxed) {
            for event in event::wait_for_events(self.long_hold / 4) {
                let _ = catch_unwind(AssertUnwindSafe(|| (self.tell)(event)));
            }
            self.look_for_long_holds(Instant::now());
        }
    }

    /// A hold that was here and is here again was here all along.
    fn look_for_long_holds(&mut self, now: Instant) {
        let mut seen = Vec::new();
        for thread in thread::all() {
            let address = std::ptr::from_ref(thread).addr();
            for hold in thread.held.holds() {
                let before = self.seen.iter().find(|seen| seen.thread == address && seen.hold == hold);
                let (since, mut is_told) = before.map_or((now, false), |seen| (seen.since, seen.is_told));
                let at_least = now.duration_since(since);
                if let Some(lock) = registry::lock(hold.tag.number()).filter(|_| at_least > Duration::ZERO) {
                    lock.held_at_least(at_least, hold.site);
                }
                if !is_told && at_least >= self.long_hold {
                    is_told = true;
                    let held = Place::of(hold.tag.number(), hold.site);
                    event::tell(Event::LongHold { thread: thread.name(), held, at_least });
                }
                seen.push(Seen { thread: address, hold, since, is_told });
            }
        }
        self.seen = seen;
    }
}
