//! The pool that everything large is taken from.
//!
//! What it has today: bytes, with a limit for all and one for each channel,
//! accounted to their holder and given back by dropping. Tiers of buffers,
//! borrowing and leak detection are to come.
//!
//! Invariant: what is in use is the sum of the reservations that live.

use evenkeel_hierarchy::{BufferState, Mutex, with_root};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Limits of a pool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// For all channels together.
    pub bytes_max: usize,
    /// For one channel.
    pub channel_bytes_max: usize,
}

impl Default for PoolLimits {
    /// 256 MiB in all, as much for one channel.
    fn default() -> Self {
        Self { bytes_max: 256 << 20, channel_bytes_max: 256 << 20 }
    }
}

/// A limit would be exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{holder} asked for {bytes} bytes and holds {held}; {whose} limit is {limit}, of which {in_use} are in use"
)]
pub struct Exhausted {
    /// Who asked.
    pub holder: String,
    /// For how much.
    pub bytes: usize,
    /// What it holds already.
    pub held: usize,
    /// Whose limit: `"its"` or `"the pool's"`.
    pub whose: &'static str,
    /// The limit.
    pub limit: usize,
    /// What is in use of it.
    pub in_use: usize,
}

#[derive(Debug, Default)]
struct Books {
    in_use: usize,
    holders: BTreeMap<String, usize>,
}

impl Books {
    fn take(&mut self, limits: PoolLimits, holder: &str, bytes: usize) -> Result<(), Exhausted> {
        let held = self.holders.get(holder).copied().unwrap_or(0);
        let refused = |whose, limit, in_use| {
            Err(Exhausted { holder: holder.to_owned(), bytes, held, whose, limit, in_use })
        };
        if held.saturating_add(bytes) > limits.channel_bytes_max {
            return refused("its", limits.channel_bytes_max, held);
        }
        if self.in_use.saturating_add(bytes) > limits.bytes_max {
            return refused("the pool's", limits.bytes_max, self.in_use);
        }
        self.in_use += bytes;
        *self.holders.entry(holder.to_owned()).or_default() += bytes;
        Ok(())
    }

    fn give_back(&mut self, holder: &str, bytes: usize) {
        self.in_use -= bytes;
        if let Some(held) = self.holders.get_mut(holder) {
            *held -= bytes;
            if *held == 0 {
                self.holders.remove(holder);
            }
        }
    }
}

#[derive(Debug)]
struct Inner {
    limits: PoolLimits,
    books: Mutex<BufferState, Books>,
}

/// Bytes with limits. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct ResourcePool(Arc<Inner>);

impl ResourcePool {
    /// Only the monitoring creates one.
    pub(crate) fn new(limits: PoolLimits) -> Self {
        Self(Arc::new(Inner { limits, books: Mutex::default() }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Books) -> T) -> T {
        with_root(|house| act(&mut self.0.books.lock(house)))
    }

    /// Takes `bytes` for a holder: a channel, or one of the house's own parts.
    ///
    /// # Errors
    /// [`Exhausted`], naming the limit.
    pub fn reserve(&self, holder: &str, bytes: usize) -> Result<Reservation, Exhausted> {
        self.with(|books| books.take(self.0.limits, holder, bytes))?;
        Ok(Reservation { pool: self.clone(), holder: holder.to_owned(), bytes })
    }

    /// Bytes in use.
    pub fn in_use(&self) -> usize {
        self.with(|books| books.in_use)
    }

    /// Who holds how much, by name.
    pub fn holders(&self) -> Vec<(String, usize)> {
        self.with(|books| books.holders.iter().map(|(name, bytes)| (name.clone(), *bytes)).collect())
    }

    /// The limits.
    pub fn limits(&self) -> PoolLimits {
        self.0.limits
    }
}

/// Bytes of a pool, given back by dropping.
#[must_use = "dropping it gives the bytes back"]
pub struct Reservation {
    pool: ResourcePool,
    holder: String,
    bytes: usize,
}

impl Reservation {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whose.
    pub fn holder(&self) -> &str {
        &self.holder
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("holder", &self.holder).field("bytes", &self.bytes).finish()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.with(|books| books.give_back(&self.holder, self.bytes));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;

    // REQ R3, REQ R4
    #[test]
    fn limits_hold_and_what_is_dropped_comes_back() {
        let pool = ResourcePool::new(PoolLimits { bytes_max: 100, channel_bytes_max: 70 });
        let left = pool.reserve("left", 60).unwrap();
        let refused = pool.reserve("left", 11).unwrap_err();
        assert_eq!((refused.whose, refused.limit, refused.held), ("its", 70, 60));
        let right = pool.reserve("right", 40).unwrap();
        assert_eq!(pool.reserve("right", 1).unwrap_err().whose, "the pool's");
        drop(left);
        assert_eq!(pool.holders(), [("right".to_owned(), 40)]);
        drop(right);
        assert_eq!((pool.in_use(), pool.holders().len()), (0, 0));
    }
}
