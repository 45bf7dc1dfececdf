//! What happens to threads, told to whoever subscribed.
//!
//! Who tells never waits: each subscription has a queue of its own, and what does not fit is counted.

use super::slot::{Kind, Site};
use super::usage::InKernel;
use crate::callback::contained;
use evenkeel_core::Mono;
use evenkeel_core::threads::Class;
use evenkeel_hierarchy::{Condvar, Mutex, ThreadEvents, with_root};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a thread was doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Doing {
    /// The job that it runs, and its channel.
    pub job: Option<(String, Option<String>)>,
    /// Where it was last: its last beat, or where what it runs was given.
    pub site: Site,
    /// Where it stands in the kernel.
    pub in_kernel: Option<InKernel>,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.job {
            Some((job, Some(channel))) => write!(f, "job {job} of channel {channel}, ")?,
            Some((job, None)) => write!(f, "job {job}, ")?,
            None => {}
        }
        write!(f, "last at {}", self.site)?;
        self.in_kernel.as_ref().map_or(Ok(()), |kernel| write!(f, ", {kernel}"))
    }
}

/// A thread that something happened to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// What it is there for.
    pub kind: Kind,
    /// Its number of the system.
    pub tid: Option<i32>,
    /// What it was doing.
    pub doing: Doing,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// It has not beaten for a heartbeat, and used little of a processor meanwhile.
    Stuck {
        /// For how long it has been silent.
        silent_for: Duration,
    },
    /// It has not beaten for a heartbeat and ran meanwhile, or used more of a processor than it may.
    Runaway {
        /// For how long that was looked at.
        over: Duration,
        /// Time on a processor in it.
        cpu: Duration,
    },
    /// One that was stuck or ran away beats again.
    Recovered {
        /// How long it was silent.
        silent_for: Duration,
    },
    /// It ended by a panic.
    Died {
        /// What the panic said.
        message: String,
    },
    /// A job on it panicked; the thread goes on.
    JobPanicked {
        /// What the panic said.
        message: String,
    },
    /// Another worker was started in its place.
    Replaced {
        /// The other one's name.
        by: String,
    },
    /// No worker could be started in its place: the others do its work.
    NotReplaced {
        /// Why.
        why: String,
    },
    /// It has not the priority or the processors that were asked for.
    NotPlaced {
        /// Why.
        why: String,
    },
}

/// Something that happened to a thread. Its text is a sentence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadEvent {
    /// When it was found.
    pub at: Mono,
    /// To whom.
    pub thread: Subject,
    /// What.
    pub what: What,
}

impl ThreadEvent {
    /// Whether something is wrong, and not merely told.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(self.what, What::Recovered { .. } | What::Replaced { .. })
    }

    /// In a word, for a journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Stuck { .. } => "stuck",
            What::Runaway { .. } => "runaway",
            What::Recovered { .. } => "recovered",
            What::Died { .. } => "died",
            What::JobPanicked { .. } => "job-panicked",
            What::Replaced { .. } => "replaced",
            What::NotReplaced { .. } => "not-replaced",
            What::NotPlaced { .. } => "not-placed",
        }
    }
}

impl fmt::Display for ThreadEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, doing) = (&self.thread.name, &self.thread.doing);
        match &self.what {
            What::Stuck { silent_for } => {
                write!(f, "thread {name} is stuck: nothing heard for {silent_for:.1?} ({doing})")
            }
            What::Runaway { over, cpu } => {
                write!(f, "thread {name} runs away: {cpu:.1?} of processor in {over:.1?} ({doing})")
            }
            What::Recovered { silent_for } => {
                write!(f, "thread {name} is back after {silent_for:.1?} ({doing})")
            }
            What::Died { message } => write!(f, "thread {name} died: {message} ({doing})"),
            What::JobPanicked { message } => {
                write!(f, "on thread {name} a job panicked: {message} ({doing})")
            }
            What::Replaced { by } => write!(f, "thread {name} is replaced by {by}"),
            What::NotReplaced { why } => write!(f, "thread {name} is not replaced: {why}"),
            What::NotPlaced { why } => write!(f, "thread {name}: {why}"),
        }
    }
}

/// Events that one subscription keeps until they are taken.
const QUEUED_MAX: usize = 1024;

#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<ThreadEvent>>,
    lost: u64,
}

struct Mailbox {
    queue: Mutex<ThreadEvents, Queue>,
    arrived: Condvar,
}

/// Events from when it was made on; dropping it ends it.
///
/// It keeps 1,024 that nobody has taken; of more, the oldest are [lost](Self::lost).
pub struct Subscription(Arc<Mailbox>);

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("lost", &self.lost()).finish()
    }
}

impl Subscription {
    /// The next event; `None` when there is none within so long.
    pub fn next(&self, patience: Duration) -> Option<Arc<ThreadEvent>> {
        let until = Instant::now().checked_add(patience);
        with_root(|house| {
            let mut queue = self.0.queue.lock(house);
            while queue.events.is_empty() {
                match until {
                    None => self.0.arrived.wait(&mut queue),
                    Some(until) if self.0.arrived.wait_until(&mut queue, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            queue.events.pop_front()
        })
    }

    /// How many were thrown away because nobody took them.
    pub fn lost(&self) -> u64 {
        with_root(|house| self.0.queue.lock(house).lost)
    }
}

pub(super) type Hook = Arc<dyn Fn(&ThreadEvent) + Send + Sync>;

/// Who is told.
#[derive(Default)]
pub(super) struct Tellers {
    mailboxes: Mutex<ThreadEvents, Vec<Weak<Mailbox>>>,
    /// Users', which may hang.
    hooks: Mutex<ThreadEvents, Vec<Hook>>,
    /// The house's, which do not.
    own: Mutex<ThreadEvents, Vec<Hook>>,
}

impl Tellers {
    pub(super) fn hook(&self, hook: Hook) {
        with_root(|house| self.hooks.lock(house).push(hook));
    }

    pub(super) fn hook_own(&self, hook: Hook) {
        with_root(|house| self.own.lock(house).push(hook));
    }

    /// Nobody is called any more. What they hold is dropped by the caller, and not with the last thread.
    pub(super) fn unhook(&self) -> Vec<Hook> {
        with_root(|house| std::mem::take(&mut *self.hooks.lock(house)))
    }

    pub(super) fn subscribe(&self) -> Subscription {
        let mailbox = Arc::new(Mailbox { queue: Mutex::default(), arrived: Condvar::new() });
        with_root(|house| {
            let mut mailboxes = self.mailboxes.lock(house);
            mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
            mailboxes.push(Arc::downgrade(&mailbox));
        });
        Subscription(mailbox)
    }

    /// Tells everybody but users' hooks, which it answers. Outside of all locks, from any thread.
    pub(super) fn tell(&self, event: &Arc<ThreadEvent>) -> Vec<Hook> {
        let own = with_root(|house| self.own.lock(house).clone());
        own.iter().for_each(|hook| contained(|| hook(event)));
        let listening: Vec<Arc<Mailbox>> =
            with_root(|house| self.mailboxes.lock(house).iter().filter_map(Weak::upgrade).collect());
        for mailbox in listening {
            with_root(|house| {
                let mut queue = mailbox.queue.lock(house);
                if queue.events.len() >= QUEUED_MAX {
                    queue.events.pop_front();
                    queue.lost += 1;
                }
                queue.events.push_back(event.clone());
            });
            mailbox.arrived.notify_all();
        }
        with_root(|house| self.hooks.lock(house).clone())
    }
}
