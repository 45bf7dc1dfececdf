//! Disk space kept for the day the disk is full.

use crate::storage::Storage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of the ballast file in the recording directory.
pub const BALLAST_NAME: &str = ".ballast";

/// A preallocated file that is removed when its space is needed to seal.
pub struct Ballast {
    storage: Arc<dyn Storage>,
    least_bytes: u64,
    wanted_bytes: u64,
    held: AtomicBool,
}

impl Ballast {
    pub(super) fn new(storage: Arc<dyn Storage>, least_bytes: u64, wanted_bytes: u64) -> Self {
        Self {
            storage,
            least_bytes,
            wanted_bytes: wanted_bytes.max(least_bytes),
            held: AtomicBool::new(false),
        }
    }

    /// Tries to reserve the space; `false` when the disk has too little, or
    /// cannot reserve. At least twice the space must be free, so that the
    /// ballast itself does not fill the disk.
    pub fn hold(&self) -> bool {
        if self.least_bytes > 0 && !self.is_held() {
            let free = self.storage.free_bytes().unwrap_or(0);
            let fitting = [self.wanted_bytes, self.least_bytes].into_iter().find(|bytes| free / 2 >= *bytes);
            self.held.store(fitting.is_some_and(|bytes| self.reserve(bytes)), Ordering::Release);
        }
        self.is_held()
    }

    fn reserve(&self, bytes: u64) -> bool {
        let _ = self.storage.remove(BALLAST_NAME);
        let made = self.storage.create(BALLAST_NAME).and_then(|file| file.preallocate(bytes));
        if made.is_err() {
            let _ = self.storage.remove(BALLAST_NAME);
        }
        made.is_ok()
    }

    /// Gives the space back to the file system.
    pub fn release(&self) {
        if self.held.swap(false, Ordering::AcqRel) {
            let _ = self.storage.remove(BALLAST_NAME);
        }
    }

    /// Whether the space is reserved now.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.release();
    }
}
