//! The threads that lock: a record each, which outlives them and is used again.
//!
//! The thread finds its record through a cell without a destructor, so that it can lock while it
//! ends. A second variable gives the record back when the thread ends. What locks after that, in the
//! destructor of an older variable, gets a record again, and one more variable gives that back as soon as
//! the destructor is over. Only the ninth such destructor of a thread keeps its record, four kilobytes.

use super::held::Held;
use super::sys::Site;
use super::tag::Tag;
use parking_lot::Mutex;
use std::cell::Cell;
use std::thread;
use std::time::Instant;

/// What others may know of a thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) held: Held,
    name: Mutex<String>,
    wait: Mutex<Waits>,
    /// Since when those holds last that are timed, by where they are kept.
    times: Mutex<Vec<(usize, Instant)>>,
}

#[derive(Debug)]
struct Waits {
    count: u64,
    now: Option<Wait>,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Which of the thread's waits it is: the same number is the same wait.
    pub(crate) nth: u64,
    pub(crate) lock: usize,
    pub(crate) tag: Tag,
    pub(crate) site: Site,
    pub(crate) since: Instant,
}

impl Thread {
    fn new() -> Self {
        Self {
            held: Held::new(),
            name: Mutex::new(String::new()),
            wait: Mutex::new(Waits { count: 0, now: None }),
            times: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.name.lock().clone()
    }

    /// Times the hold that is kept there from now on.
    #[cold]
    #[inline(never)]
    pub(crate) fn keep_time(&self, at: usize) {
        let mut times = self.times.lock();
        times.retain(|(other, _)| *other != at);
        times.push((at, Instant::now()));
    }

    /// Since when the hold lasts that is kept there.
    pub(crate) fn take_time(&self, at: usize) -> Option<Instant> {
        let mut times = self.times.lock();
        let found = times.iter().position(|(other, _)| *other == at)?;
        Some(times.swap_remove(found).1)
    }

    /// What the thread waits for.
    pub(crate) fn wait(&self) -> Option<Wait> {
        self.wait.lock().now
    }

    /// Tells others what this thread waits for, as long as what is returned lives.
    pub(crate) fn begin_wait(&'static self, lock: usize, tag: Tag, site: Site) -> Waiting {
        let mut wait = self.wait.lock();
        wait.count += 1;
        wait.now = Some(Wait { nth: wait.count, lock, tag, site, since: Instant::now() });
        Waiting { thread: self }
    }
}

/// Ends the wait when dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    thread: &'static Thread,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.thread.wait.lock().now = None;
    }
}

/// All records, and those that no thread uses.
#[derive(Debug)]
struct Threads {
    all: Vec<&'static Thread>,
    free: Vec<&'static Thread>,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads { all: Vec::new(), free: Vec::new() });

thread_local! {
    static ME: Cell<Option<&'static Thread>> = const { Cell::new(None) };
}

/// Variables whose destructors give the record back, one after the other.
macro_rules! leaving {
    ($($name:ident)+) => {
        thread_local! { $(static $name: Leaving = const { Leaving };)+ }

        /// Has the record given back when the thread ends, or when the destructor is over that runs. Without
        /// effect when all of them are used up.
        fn give_back_later() {
            // The first access of one registers its destructor; after that has run there is no access.
            let _ = $($name.try_with(|_| ()).is_ok())||+;
        }
    };
}

leaving! { FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH }

/// Gives the record back when the thread ends.
struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        // A thread that ends with locks held, in variables that are dropped later, keeps its record.
        if let Some(me) = ME.get().filter(|me| me.held.is_empty()) {
            ME.set(None);
            THREADS.lock().free.push(me);
        }
    }
}

/// The record of this thread.
#[inline]
pub(crate) fn current() -> &'static Thread {
    match ME.get() {
        Some(me) => me,
        None => enrol(),
    }
}

#[cold]
fn enrol() -> &'static Thread {
    give_back_later();
    let mut threads = THREADS.lock();
    let me = threads.free.pop().unwrap_or_else(|| {
        let made: &'static Thread = Box::leak(Box::new(Thread::new()));
        threads.all.push(made);
        made
    });
    drop(threads);
    let current = thread::current();
    *me.name.lock() = match current.name() {
        Some(name) => name.to_owned(),
        None => format!("{:?}", current.id()),
    };
    ME.set(Some(me));
    me
}

/// The records of all threads, those that ended among them: they hold nothing and wait for nothing.
pub(crate) fn all() -> Vec<&'static Thread> {
    THREADS.lock().all.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::held::Mixed;

    #[test]
    fn records_are_used_again() {
        let first = thread::spawn(|| std::ptr::from_ref(current()).addr()).join().unwrap();
        let known = all().len();
        for _ in 0..50 {
            thread::spawn(|| current().name()).join().unwrap();
        }
        // Tests beside this one have threads too.
        assert!(all().len() < known + 40, "{} records after {known}", all().len());
        assert!(all().iter().any(|thread| std::ptr::from_ref(*thread).addr() == first));
    }

    #[test]
    fn a_wait_is_told_while_it_lasts() {
        let me = current();
        let waiting = me.begin_wait(5, Tag::UNKNOWN, std::panic::Location::caller());
        let first = me.wait().unwrap();
        assert_eq!(first.lock, 5);
        drop(waiting);
        assert_eq!(me.wait(), None);
        let _waiting = me.begin_wait(5, Tag::UNKNOWN, std::panic::Location::caller());
        assert_ne!(me.wait().unwrap().nth, first.nth);
    }

    #[test]
    fn a_thread_locks_while_it_ends() {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                let held = &current().held;
                let kept = held.push::<Mixed>(1, 1, Tag::UNKNOWN, std::panic::Location::caller());
                held.let_go::<Mixed>(kept);
            }
        }
        thread_local!(static LATE: Late = const { Late });
        let early = || {
            LATE.with(|_| ());
            current().name()
        };
        let late = || {
            let name = current().name();
            LATE.with(|_| ());
            name
        };
        thread::spawn(early).join().unwrap();
        thread::spawn(late).join().unwrap();
    }
}
