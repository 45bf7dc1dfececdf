//! Threads for steps that may block for ever.
//!
//! A thread that has finished waits a while for more to do; one that hangs is
//! left behind, and nobody ever joins it.
//!
//! Invariant: a sender is in the list exactly while its thread is idle and
//! nobody has taken it, so that a thread which goes never takes a task along.

use crate::callback::{call, message};
use crate::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_hierarchy::{Cap, House, Mutex, StepThreads, with_root};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// What a thread is given. It is ours; what it calls of a user's goes through [`call`].
pub(crate) type Task = Box<dyn FnOnce(&mut Cap<House>) + Send>;

/// A task that no thread could be started for.
pub(crate) struct Refused {
    pub(crate) why: io::Error,
    pub(crate) task: Task,
}

/// How long an idle thread stays.
const IDLE: Duration = Duration::from_secs(5);
/// A user's code runs on them: as much as a thread has by default.
const STACK_BYTES: usize = 2 << 20;

struct Idle {
    all: ThreadCoordinator,
    threads: Mutex<StepThreads, Vec<(u64, SyncSender<Task>)>>,
    next: AtomicU64,
    /// For tests: no more threads are to be had.
    #[cfg(test)]
    exhausted: std::sync::atomic::AtomicBool,
}

impl Idle {
    /// Takes a thread out of the list; `None` when somebody has taken it to send a task.
    fn remove(&self, house: &mut Cap<House>, id: u64) -> Option<SyncSender<Task>> {
        let mut threads = self.threads.lock(house);
        let at = threads.iter().position(|(of, _)| *of == id)?;
        Some(threads.remove(at).1)
    }
}

/// Runs each task on a thread of its own, used again when it is free.
#[derive(Clone)]
pub(crate) struct Workers(Arc<Idle>);

impl Workers {
    pub(crate) fn new(all: ThreadCoordinator) -> Self {
        Self(Arc::new(Idle {
            all,
            threads: Mutex::default(),
            next: AtomicU64::new(0),
            #[cfg(test)]
            exhausted: std::sync::atomic::AtomicBool::new(false),
        }))
    }

    /// Starts a task. Never waits for another.
    ///
    /// # Errors
    /// The task, and what the system says when there is no thread to be had.
    pub(crate) fn run(&self, task: Task) -> Result<(), Refused> {
        let taken = with_root(|house| self.0.threads.lock(house).pop());
        let task = match taken {
            Some((_, worker)) => match worker.send(task) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => task,
        };
        let (sender, tasks) = sync_channel(1);
        let (idle, id) = (self.0.clone(), self.0.next.fetch_add(1, Ordering::Relaxed));
        let theirs = sender.clone();
        let live = move |pulse: &Pulse<'_>| with_root(|house| work(house, pulse, &idle, id, &theirs, &tasks));
        match self.spawn(live) {
            // Only now, to have it back where there is no thread.
            Ok(()) => {
                let _ = sender.send(task);
                Ok(())
            }
            Err(why) => Err(Refused { why, task }),
        }
    }

    fn spawn(&self, live: impl FnOnce(&Pulse<'_>) + Send + 'static) -> io::Result<()> {
        #[cfg(test)]
        if self.0.exhausted.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(11));
        }
        let thread = self.0.all.thread("ek-step").class(Class::System).stack_bytes(STACK_BYTES);
        thread.of_a_stop().start(live)?;
        Ok(())
    }

    /// For tests: no more threads are to be had.
    #[cfg(test)]
    pub(crate) fn exhaust(&self) {
        self.0.exhausted.store(true, Ordering::Relaxed);
    }

    /// Asks for something that a user's code has to answer; `None` when it does not in time.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = sync_channel(1);
        let ask = move |house: &mut Cap<House>| match call(house, question) {
            Ok(given) => drop(sender.send(given)),
            Err(panic) => drop(message(panic)),
        };
        self.run(Box::new(ask)).ok()?;
        answer.recv_timeout(patience).ok()
    }
}

fn work(
    house: &mut Cap<House>,
    pulse: &Pulse<'_>,
    idle: &Idle,
    id: u64,
    sender: &SyncSender<Task>,
    tasks: &Receiver<Task>,
) {
    // The first one is on its way.
    let mut next = tasks.recv().ok();
    while let Some(task) = next {
        // Steps contain their panics; whatever else panics must not cost the list its thread.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(house))) {
            let _ = message(panic);
        }
        idle.threads.lock(house).push((id, sender.clone()));
        next = match pulse.waiting(|| tasks.recv_timeout(IDLE)) {
            Ok(task) => Some(task),
            Err(_) if idle.remove(house, id).is_some() => None,
            // Taken just now: the task is on its way.
            Err(_) => tasks.recv().ok(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ C4
    #[test]
    fn threads_are_used_again_and_a_hung_one_holds_nobody_up() {
        let workers = Workers::new(ThreadCoordinator::default());
        let (stuck, release) = sync_channel::<()>(0);
        let hang = move |_: &mut Cap<House>| _ = stuck.send(());
        assert!(workers.run(Box::new(hang)).is_ok());
        let ids: std::collections::HashSet<_> = (0..50)
            .filter_map(|_| {
                let id = workers.ask(Duration::from_secs(10), || std::thread::current().id());
                // The thread lists itself right after its answer.
                while with_root(|house| workers.0.threads.lock(house).is_empty()) {
                    std::thread::yield_now();
                }
                id
            })
            .collect();
        assert_eq!(ids.len(), 1);
        drop(release);
    }
}
