//! The queued jobs, and which of them has the earliest deadline.
//!
//! Invariants: a place in use is in exactly one list, that of its channel and class
//! or that of its class without a channel; it is in the heap when it has a deadline,
//! and knows where.

use super::ids::{Class, JobId};
use super::list::{Link, NIL, Nodes};
use crate::Mono;

/// A job while it is queued.
pub(super) struct Job<J> {
    pub(super) id: JobId,
    pub(super) class: Class,
    /// Place of its channel.
    pub(super) channel: Option<u32>,
    pub(super) submitted: Mono,
    pub(super) deadline: Option<Mono>,
    pub(super) payload: J,
}

struct Place<J> {
    link: Link,
    /// Where in the heap of deadlines.
    heap_at: u32,
    job: Option<Job<J>>,
}

/// See the module's head.
pub(super) struct Jobs<J> {
    queued_max: usize,
    places: Vec<Place<J>>,
    /// First free place; free ones are chained by `link.next`.
    free: u32,
    queued: usize,
    next_sequence: u64,
    /// Places of jobs with a deadline; none is earlier than its parent.
    heap: Vec<u32>,
}

impl<J> Nodes for Jobs<J> {
    fn link(&mut self, at: u32, _: usize) -> &mut Link {
        &mut self.places[at as usize].link
    }
}

impl<J> Jobs<J> {
    /// Room for `queued_max` jobs, all of it reserved at once with the first: who has none takes nothing.
    pub(super) fn new(queued_max: usize) -> Self {
        Self { queued_max, places: Vec::new(), free: NIL, queued: 0, next_sequence: 0, heap: Vec::new() }
    }

    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn get(&self, at: u32) -> &Job<J> {
        self.places[at as usize].job.as_ref().expect("invariant: a listed place holds a job")
    }

    /// Where a job is, if it is queued.
    pub(super) fn find(&self, id: JobId) -> Option<u32> {
        let at = id.slot();
        let job = self.places.get(at as usize)?.job.as_ref()?;
        (job.id == id).then_some(at)
    }

    /// Keeps a job; `make` is given its id. The caller puts it into its list.
    pub(super) fn insert(&mut self, make: impl FnOnce(JobId) -> Job<J>) -> (u32, JobId) {
        let at = match self.free {
            NIL => {
                if self.places.is_empty() {
                    self.places.reserve_exact(self.queued_max);
                    self.heap.reserve_exact(self.queued_max);
                }
                self.places.push(Place { link: Link::NONE, heap_at: NIL, job: None });
                (self.places.len() - 1) as u32
            }
            at => {
                self.free = self.places[at as usize].link.next;
                at
            }
        };
        let id = JobId::from_parts(self.next_sequence, at);
        self.next_sequence += 1;
        let job = make(id);
        let has_deadline = job.deadline.is_some();
        self.places[at as usize].job = Some(job);
        self.queued += 1;
        if has_deadline {
            self.heap.push(at);
            self.sift_up(self.heap.len() - 1);
        }
        (at, id)
    }

    /// Gives up a place that is in no list any more.
    pub(super) fn remove(&mut self, at: u32) -> Job<J> {
        let place = &mut self.places[at as usize];
        let job = place.job.take().expect("invariant: a listed place holds a job");
        let heap_at = std::mem::replace(&mut place.heap_at, NIL);
        place.link.next = self.free;
        self.free = at;
        self.queued -= 1;
        if heap_at != NIL {
            self.leave_heap(heap_at as usize);
        }
        job
    }

    /// The job with the earliest deadline.
    pub(super) fn earliest(&self) -> Option<(Mono, u32)> {
        let at = *self.heap.first()?;
        Some((self.deadline(at), at))
    }

    fn deadline(&self, at: u32) -> Mono {
        self.get(at).deadline.expect("invariant: jobs in the heap have a deadline")
    }

    fn leave_heap(&mut self, hole: usize) {
        self.heap.swap_remove(hole);
        if hole < self.heap.len() {
            self.sift_down(hole);
            self.sift_up(hole);
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.deadline(self.heap[parent]) <= self.deadline(self.heap[at]) {
                break;
            }
            self.heap.swap(at, parent);
            self.note(at);
            at = parent;
        }
        self.note(at);
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len()
                    && self.deadline(self.heap[child]) < self.deadline(self.heap[least])
                {
                    least = child;
                }
            }
            if least == at {
                return self.note(at);
            }
            self.heap.swap(at, least);
            self.note(at);
            at = least;
        }
    }

    fn note(&mut self, at: usize) {
        let place = self.heap[at];
        self.places[place as usize].heap_at = at as u32;
    }
}
