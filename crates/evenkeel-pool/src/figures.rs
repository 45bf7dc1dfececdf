//! What is really used: of the memory that is held, and of the system's.
//!
//! A pool's own counters say what was handed out. How much of that was asked for is [`Pool::fragmentation`]; how much memory the
//! process takes, whatever anybody counts, only the system knows.

use crate::arena::Slot;
use crate::pool::Pool;
use std::fs;
use std::io;
use std::sync::atomic::Ordering;

/// How much of what is held was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragmentation {
    /// Bytes that the buffers were taken for which are held now.
    pub asked_bytes: u64,
    /// Bytes of those buffers.
    pub held_bytes: u64,
}

impl Fragmentation {
    /// What share is held in vain, from 0 to 1; 0 where nothing is held.
    pub fn share(&self) -> f64 {
        if self.held_bytes == 0 { 0.0 } else { 1.0 - self.asked_bytes as f64 / self.held_bytes as f64 }
    }
}

impl Pool {
    /// Buffers of each tier that somebody holds, the smallest first: those not that lie ready in the threads that gave them
    /// back, which [`Usage`](crate::Usage) counts as their channel's.
    ///
    /// ```
    /// use evenkeel_pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().build()?;
    /// let left = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
    /// let buffer = left.take(5000)?;
    /// assert_eq!(pool.held(), [0, 1, 0]);
    /// drop(buffer);
    /// assert_eq!(pool.held(), [0, 0, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn held(&self) -> Vec<u64> {
        let core = &self.root().memory().core;
        (0..core.tiers.len()).map(|tier| core.held(tier).count() as u64).collect()
    }

    /// How much of what is held now was asked for: internal fragmentation. There is no other: all buffers of a tier are of
    /// one size, and any that is free serves.
    ///
    /// ```
    /// use evenkeel_pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().build()?;
    /// let left = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
    /// let buffer = left.take(1024)?;
    /// assert_eq!(pool.fragmentation().share(), 0.75);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fragmentation(&self) -> Fragmentation {
        let memory = self.root().memory();
        let mut found = Fragmentation::default();
        for (at, tier) in memory.core.tiers.iter().enumerate() {
            let asked = |slot: &Slot| u64::from(slot.asked.load(Ordering::Relaxed));
            for slot in memory.core.held(at) {
                // One that is just being taken still has what it was taken for before.
                found.asked_bytes += asked(&memory.slots[at][slot as usize]).min(tier.slot_bytes);
                found.held_bytes += tier.slot_bytes;
            }
        }
        found
    }
}

/// Bytes of memory that this process takes, by `/proc/self/statm`: microseconds, so that one may ask every second.
///
/// # Errors
/// Where the system has no such file, or another form of it.
pub fn resident() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = statm(&text).ok_or_else(|| unlike("/proc/self/statm"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// What the system says in detail of the memory that this process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Bytes that are resident, also those that were freed lazily and the system takes back when it needs them.
    pub bytes: u64,
    /// Bytes of these that were freed lazily.
    pub lazily_freed: u64,
    /// Bytes that are in swap.
    pub swapped: u64,
    /// Whether the system told these apart. If it did not, `lazily_freed` and `swapped` are 0.
    pub is_detailed: bool,
}

impl Resident {
    /// Bytes that are really taken: resident, less what was freed lazily.
    pub fn used(&self) -> u64 {
        self.bytes.saturating_sub(self.lazily_freed)
    }
}

/// The same as [`resident`], in detail, by `/proc/self/smaps_rollup`: the system walks all pages, which takes about a millisecond.
/// Where there is no such file it is what [`resident`] says.
///
/// # Errors
/// Where there is neither file, or another form of it.
pub fn resident_in_detail() -> io::Result<Resident> {
    match fs::read_to_string("/proc/self/smaps_rollup") {
        Ok(text) => smaps_rollup(&text).ok_or_else(|| unlike("/proc/self/smaps_rollup")),
        Err(_) => Ok(Resident { bytes: resident()?, lazily_freed: 0, swapped: 0, is_detailed: false }),
    }
}

fn unlike(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} is of a form that is not known"))
}

/// Resident pages: the second of the numbers.
fn statm(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn smaps_rollup(text: &str) -> Option<Resident> {
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let bytes = kilobytes("Rss")? * 1024;
    // Systems before 4.12 do not know the second.
    let lazily_freed = kilobytes("LazyFree").unwrap_or(0) * 1024;
    let swapped = kilobytes("Swap").unwrap_or(0) * 1024;
    Some(Resident { bytes, lazily_freed, swapped, is_detailed: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ R8
    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(statm("4321 1234 200 5 0 600 0\n"), Some(1234));
        assert_eq!(statm("4321"), None);
        let text = "55e8-7ffd ---p 00000000 00:00 0    [rollup]\nRss:    2048 kB\nPss:  100 kB\nLazyFree:  512 kB\nSwap: 4 kB\nSwapPss: 1 kB\n";
        let found = smaps_rollup(text).unwrap();
        assert_eq!((found.bytes, found.lazily_freed, found.swapped), (2 << 20, 512 << 10, 4096));
        assert_eq!(found.used(), 1536 << 10);
        assert!(smaps_rollup("55e8-7ffd ---p\nRss: many kB\n").is_none());
    }
}
