//! Two threads that do something at the same time, also where others want the processors.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Turns that one waits for another before it lets others have the processor.
const SPINS_MAX: u32 = 2_000;

/// Lets a moment pass, of so many in a row.
pub(crate) fn pause(turn: &mut u32) {
    *turn += 1;
    if *turn < SPINS_MAX { spin_loop() } else { thread::yield_now() }
}

/// Answers of the other within which it is awake.
const AWAKE: Duration = Duration::from_micros(2);
/// How often it is asked; then they begin as they are, on a machine where many want the processors.
const QUESTIONS_MAX: u32 = 8;

/// Where two threads meet, without sleeping: whoever sleeps begins late.
#[derive(Default)]
struct Place {
    asked: AtomicUsize,
    answered: AtomicUsize,
    begun: AtomicUsize,
}

/// One of two threads that begin together.
pub(crate) struct Together<'a> {
    place: &'a Place,
    is_first: bool,
    meetings: Cell<usize>,
}

impl Together<'_> {
    /// Waits until the other one is here too, and neither is kept from its processor.
    pub(crate) fn meet(&self) {
        let meeting = self.meetings.get() + 1;
        self.meetings.set(meeting);
        if self.is_first { self.ask(meeting) } else { self.answer(meeting) }
    }

    fn ask(&self, meeting: usize) {
        for _ in 0..QUESTIONS_MAX {
            let question = self.place.asked.fetch_add(1, Ordering::AcqRel) + 1;
            let (asked, mut turn) = (Instant::now(), 0);
            while self.place.answered.load(Ordering::Acquire) < question {
                pause(&mut turn);
            }
            if asked.elapsed() < AWAKE {
                break;
            }
        }
        self.place.begun.store(meeting, Ordering::Release);
    }

    fn answer(&self, meeting: usize) {
        let mut turn = 0;
        while self.place.begun.load(Ordering::Acquire) < meeting {
            let question = self.place.asked.load(Ordering::Acquire);
            if question == self.place.answered.swap(question, Ordering::AcqRel) {
                pause(&mut turn);
            }
        }
    }
}

/// Two threads that do something, each with one end of it; what the first finds, and the other.
pub(crate) fn both<A, B: Send>(
    first: impl FnOnce(&Together<'_>) -> A,
    other: impl FnOnce(&Together<'_>) -> B + Send,
) -> (A, B) {
    let place = Place::default();
    let end = |is_first| Together { place: &place, is_first, meetings: Cell::new(0) };
    thread::scope(|threads| {
        let other = threads.spawn(|| other(&end(false)));
        (first(&end(true)), other.join().unwrap())
    })
}

/// The samples of two threads that do the same.
pub(crate) fn doubled(work: impl Fn(&Together<'_>) -> Vec<f64> + Sync) -> Vec<f64> {
    let (mut samples, others) = both(&work, &work);
    samples.extend(others);
    samples
}
