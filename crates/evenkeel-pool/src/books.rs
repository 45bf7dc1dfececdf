//! What is noted of each slot by whoever holds it: where it was taken, since when, whose bytes are in it.
//!
//! All of it is written by the holder alone, so that plain moves do; others read it at any time, to tell people.

use evenkeel_locks::watch::{Site, SiteCell};
use std::sync::atomic::{AtomicU32, Ordering};

/// Of one slot; on a line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Note {
    pub(crate) site: SiteCell,
    /// The pool's tick when it was taken.
    pub(crate) since: AtomicU32,
    /// The account that took it last.
    pub(crate) account: AtomicU32,
    /// The channel whose bytes are in it.
    pub(crate) bytes_of: AtomicU32,
    /// How many bytes of it, from its beginning, may be other than zero.
    pub(crate) dirty_bytes: AtomicU32,
    /// How many slices of it there are, once it is frozen.
    pub(crate) slices: AtomicU32,
}

impl Note {
    #[inline]
    pub(crate) fn taken(&self, account: u32, site: Site, tick: u32) {
        self.site.store(site);
        self.since.store(tick, Ordering::Relaxed);
        self.account.store(account, Ordering::Relaxed);
    }
}

/// Of all slots.
#[derive(Debug)]
pub(crate) struct Books {
    notes: Box<[Box<[Note]>]>,
    /// Seconds that somebody counts.
    pub(crate) tick: AtomicU32,
    /// Whether what is given back is filled with a pattern.
    pub(crate) poisons: bool,
}

impl Books {
    pub(crate) fn new(slots: impl Iterator<Item = u32>, poisons: bool) -> Self {
        let notes = slots.map(|slots| (0..slots).map(|_| Note::default()).collect()).collect();
        Self { notes, tick: AtomicU32::new(0), poisons }
    }

    #[inline]
    pub(crate) fn note(&self, tier: usize, slot: u32) -> &Note {
        &self.notes[tier][slot as usize]
    }
}
