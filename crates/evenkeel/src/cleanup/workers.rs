//! Threads for steps that may block for ever.
//!
//! A thread that has finished waits a while for more to do; one that hangs is
//! left behind, and nobody ever joins it.
//!
//! Invariant: a sender is in the list exactly while its thread is idle and
//! nobody has taken it, so that a thread which goes never takes a task along.

use super::work::contained_call;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a thread is given.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// A task that no thread could be started for.
pub(crate) struct Refused {
    pub(crate) why: io::Error,
    pub(crate) task: Task,
}

/// How long an idle thread stays.
const IDLE: Duration = Duration::from_secs(5);
/// A user's code runs on them: as much as a thread has by default.
const STACK_BYTES: usize = 2 << 20;

#[derive(Default)]
struct Idle {
    threads: Mutex<Vec<(u64, SyncSender<Task>)>>,
    next: AtomicU64,
    /// For tests: no more threads are to be had.
    #[cfg(test)]
    exhausted: std::sync::atomic::AtomicBool,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, SyncSender<Task>)>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a thread out of the list; `false` when somebody has taken it to send a task.
    fn remove(&self, id: u64) -> bool {
        let mut threads = self.lock();
        let at = threads.iter().position(|(of, _)| *of == id);
        at.map(|at| threads.remove(at)).is_some()
    }
}

/// Runs each task on a thread of its own, used again when it is free.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Idle>);

impl Workers {
    /// Starts a task. Never waits for another.
    ///
    /// # Errors
    /// The task, and what the system says when there is no thread to be had.
    pub(crate) fn run(&self, task: Task) -> Result<(), Refused> {
        let taken = self.0.lock().pop();
        let task = match taken {
            Some((_, worker)) => match worker.send(task) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => task,
        };
        let (sender, tasks) = sync_channel(1);
        let (idle, id) = (self.0.clone(), self.0.next.fetch_add(1, Ordering::Relaxed));
        // Outside of what the thread takes along, to have it back when there is no thread.
        let first = Arc::new(Mutex::new(Some(task)));
        let theirs = first.clone();
        let take = |of: &Mutex<Option<Task>>| of.lock().unwrap_or_else(PoisonError::into_inner).take();
        let live = move || {
            if let Some(task) = take(&theirs) {
                work(&idle, id, &sender, &tasks, task);
            }
        };
        match self.spawn(live) {
            Ok(()) => Ok(()),
            Err(why) => {
                let task = take(&first).expect("invariant: what no thread took is still there");
                Err(Refused { why, task })
            }
        }
    }

    fn spawn(&self, live: impl FnOnce() + Send + 'static) -> io::Result<()> {
        #[cfg(test)]
        if self.0.exhausted.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(11));
        }
        let thread = std::thread::Builder::new().name("ek-step".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(live).map(drop)
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
        let ask = move || {
            let _ = sender.send(question());
        };
        self.run(Box::new(ask)).ok()?;
        answer.recv_timeout(patience).ok()
    }
}

fn work(idle: &Idle, id: u64, sender: &SyncSender<Task>, tasks: &Receiver<Task>, first: Task) {
    let mut task = first;
    loop {
        // Steps contain their panics; whatever else panics must not cost the list its thread.
        contained_call(task);
        idle.lock().push((id, sender.clone()));
        task = match tasks.recv_timeout(IDLE) {
            Ok(task) => task,
            Err(_) if idle.remove(id) => return,
            // Taken just now: the task is on its way.
            Err(_) => match tasks.recv() {
                Ok(task) => task,
                Err(_) => return,
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ C4
    #[test]
    fn threads_are_used_again_and_a_hung_one_holds_nobody_up() {
        let workers = Workers::default();
        let (stuck, release) = sync_channel::<()>(0);
        let hang = move || _ = stuck.send(());
        assert!(workers.run(Box::new(hang)).is_ok());
        let ids: std::collections::HashSet<_> = (0..50)
            .filter_map(|_| {
                let id = workers.ask(Duration::from_secs(10), || std::thread::current().id());
                // The thread lists itself right after its answer.
                while workers.0.lock().is_empty() {
                    std::thread::yield_now();
                }
                id
            })
            .collect();
        assert_eq!(ids.len(), 1);
        drop(release);
    }
}
