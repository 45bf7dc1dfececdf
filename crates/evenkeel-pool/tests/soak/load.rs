//! Threads that come and go, and do all that can be done with a pool.

use evenkeel_pool::{Account, Buffer, Chain, Slice};
use fastrand::Rng;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What lies on the shelf at most, from which any thread gives back: more than there are of the large ones.
const SHELF_MAX: usize = 900;
const LARGEST_BYTES: f64 = 1_048_576.0;
const MARK_BYTES: usize = 8;

/// What somebody took, all of it begun with a mark.
enum Held {
    Buffer(Buffer),
    Slice(Slice),
    Chain(Chain),
}

#[derive(Default)]
struct Counted {
    threads: AtomicU64,
    taken: AtomicU64,
    chains: AtomicU64,
    slices: AtomicU64,
    waited: AtomicU64,
    waited_in_vain: AtomicU64,
    refused: AtomicU64,
    rests: AtomicU64,
    damaged: AtomicU64,
}

pub(crate) struct Load {
    accounts: Vec<Account>,
    shelf: Mutex<Vec<(u64, Held)>>,
    marks: AtomicU64,
    counted: Counted,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// As many small ones as large ones, by their logarithm.
fn bytes(rng: &mut Rng) -> usize {
    LARGEST_BYTES.powf(rng.f64()) as usize
}

impl Load {
    pub(crate) fn new(accounts: Vec<Account>) -> Self {
        Self { accounts, shelf: Mutex::default(), marks: AtomicU64::new(0), counted: Counted::default() }
    }

    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// So many threads that are all there at once, each with so many operations; all have ended then.
    pub(crate) fn wave(&self, rng: &mut Rng, threads: u64, operations: u64) {
        let together = Barrier::new(threads as usize);
        thread::scope(|scope| {
            for _ in 0..threads {
                let (together, mut rng) = (&together, Rng::with_seed(rng.u64(..)));
                scope.spawn(move || {
                    add(&self.counted.threads);
                    together.wait();
                    (0..operations).for_each(|_| self.operation(&mut rng));
                });
            }
        });
    }

    /// All that lies about is given back.
    pub(crate) fn rest(&self) {
        let shelf = std::mem::take(&mut *self.shelf.lock().unwrap());
        shelf.into_iter().for_each(|held| self.give_back(held));
        add(&self.counted.rests);
    }

    fn operation(&self, rng: &mut Rng) {
        match rng.u32(..100) {
            0..45 => self.take(rng, None),
            45..50 => {
                let patience = Duration::from_micros(rng.u64(..2_000));
                self.take(rng, Some(patience));
            }
            50..60 => self.take_chain(rng),
            60..70 => self.cut(rng),
            _ => self.lift(rng),
        }
    }

    fn mark(&self) -> [u8; MARK_BYTES] {
        (self.marks.fetch_add(1, Ordering::Relaxed) + 1).to_le_bytes()
    }

    fn buffer(&self, rng: &mut Rng, patience: Option<Duration>) -> Option<([u8; MARK_BYTES], Buffer)> {
        let account = &self.accounts[rng.usize(..self.accounts.len())];
        let bytes = bytes(rng).max(MARK_BYTES);
        let counted = &self.counted;
        let taken = match patience {
            None => account.take(bytes),
            Some(patience) => account.take_until(bytes, Instant::now() + patience),
        };
        add(match (&taken, patience) {
            (Ok(_), None) => &counted.taken,
            (Ok(_), Some(_)) => &counted.waited,
            (Err(_), None) => &counted.refused,
            (Err(_), Some(_)) => &counted.waited_in_vain,
        });
        let mut buffer = taken.ok()?;
        let mark = self.mark();
        buffer.fill_from(&mark);
        Some((mark, buffer))
    }

    fn take(&self, rng: &mut Rng, patience: Option<Duration>) {
        if let Some((mark, buffer)) = self.buffer(rng, patience) {
            self.put(rng, mark, Held::Buffer(buffer));
        }
    }

    fn take_chain(&self, rng: &mut Rng) {
        let account = &self.accounts[rng.usize(..self.accounts.len())];
        match account.take_chain(bytes(rng).max(MARK_BYTES)) {
            Ok(mut chain) => {
                add(&self.counted.chains);
                let mark = self.mark();
                chain.fill_from(&mark);
                self.put(rng, mark, Held::Chain(chain));
            }
            Err(_) => add(&self.counted.refused),
        }
    }

    /// Parts of one buffer go ways of their own.
    fn cut(&self, rng: &mut Rng) {
        let Some((mark, buffer)) = self.buffer(rng, None) else { return };
        let whole = buffer.freeze();
        for _ in 0..rng.usize(..6) {
            add(&self.counted.slices);
            self.put(rng, mark, Held::Slice(whole.slice(..)));
        }
        if rng.bool() {
            self.put(rng, mark, Held::Slice(whole));
        }
    }

    /// Onto the shelf; where it is full, something else leaves it.
    fn put(&self, rng: &mut Rng, mark: [u8; MARK_BYTES], held: Held) {
        let mut held = (u64::from_le_bytes(mark), held);
        let mut shelf = self.shelf.lock().unwrap();
        if shelf.len() < SHELF_MAX {
            return shelf.push(held);
        }
        let at = rng.usize(..SHELF_MAX);
        std::mem::swap(&mut shelf[at], &mut held);
        drop(shelf);
        self.give_back(held);
    }

    /// Gives back whatever, most likely another thread's.
    fn lift(&self, rng: &mut Rng) {
        let mut shelf = self.shelf.lock().unwrap();
        if shelf.is_empty() {
            return;
        }
        let at = rng.usize(..shelf.len());
        let held = shelf.swap_remove(at);
        drop(shelf);
        self.give_back(held);
    }

    fn give_back(&self, (mark, held): (u64, Held)) {
        let mark = mark.to_le_bytes();
        let is_whole = match &held {
            Held::Buffer(buffer) => **buffer == mark,
            Held::Slice(slice) => **slice == mark,
            Held::Chain(chain) => chain.io_slices().first().is_some_and(|first| **first == mark),
        };
        if !is_whole {
            add(&self.counted.damaged);
        }
    }

    /// Buffers in which there was something else than their holders wrote.
    pub(crate) fn damaged(&self) -> u64 {
        self.counted.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn said(&self) -> String {
        let Counted { threads, taken, chains, slices, waited, waited_in_vain, refused, rests, damaged } =
            &self.counted;
        let mut said = String::new();
        for (what, count) in [
            ("threads, one after the other", threads),
            ("buffers taken at once", taken),
            ("chains", chains),
            ("slices", slices),
            ("buffers waited for", waited),
            ("waited for in vain", waited_in_vain),
            ("refused", refused),
            ("times that all was given back", rests),
            ("buffers that were damaged", damaged),
        ] {
            writeln!(said, "{what:<34} {}", count.load(Ordering::Relaxed)).unwrap();
        }
        said
    }
}
