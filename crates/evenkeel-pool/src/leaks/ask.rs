//! What a pool, a channel and an account are asked about leaks.

use super::{Finding, LeakMode, LeakQuery, Leaks, find, findings, finish};
use crate::channel::Channel;
use crate::pool::{Account, Pool};

impl Pool {
    /// What is noted of each buffer from now on.
    pub fn set_leaks(&self, mode: LeakMode) {
        let memory = self.root().memory();
        memory.watch.set_mode(memory, mode);
    }

    /// What is noted of each buffer.
    pub fn leak_mode(&self) -> LeakMode {
        self.root().memory().watch.mode()
    }

    /// Which buffers are held, as such or as slices, one by one.
    pub fn leaks(&self, query: &LeakQuery) -> Leaks {
        find(self.root().memory(), query)
    }

    /// What is new since this was asked last: held too long, never given back, written afterwards, given back at last. Nothing is
    /// told twice; but one that is held too long again, each time that its age has doubled. To be asked once a second or so, by one.
    ///
    /// ```
    /// use evenkeel_pool::{Finding, Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().build()?;
    /// let left = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
    /// left.set_held_max(Some(30));
    /// let forgotten = left.take(4096)?;
    /// pool.tick(31);
    /// let found = pool.findings();
    /// let [Finding::HeldTooLong(held)] = found.as_slice() else { panic!("{found:?}") };
    /// assert_eq!((held.component.as_str(), held.seconds), ("mic", Some(31)));
    /// assert!(pool.findings().is_empty());
    /// # drop(forgotten);
    /// # Ok(())
    /// # }
    /// ```
    pub fn findings(&self) -> Vec<Finding> {
        findings(self.root().memory())
    }

    /// Nobody holds anything any more, as the caller says: what is held all the same. It is a [finding](Pool::findings) too, and when it
    /// is given back.
    pub fn finish(&self) -> Leaks {
        finish(self.root().memory(), |_| true)
    }
}

impl Channel {
    /// None of its components holds anything any more, as the caller says: what they hold all the same. It is a
    /// [finding](Pool::findings) too, and when it is given back.
    pub fn finish(&self) -> Leaks {
        let memory = self.root().memory();
        let is_own =
            |account| memory.core.known(account).is_some_and(|state| state.channel.number == self.number());
        finish(memory, is_own)
    }
}

impl Account {
    /// It holds nothing any more, as it says: what it holds all the same. It is a [finding](Pool::findings) too, and when it is
    /// given back.
    pub fn finish(&self) -> Leaks {
        finish(self.root().memory(), |account| account == self.number())
    }

    /// For how many seconds it may hold units of what is counted beside the memory before that is a [finding](Pool::findings), at
    /// least one; none: for ever, as what is open for as long as the component runs. Five minutes at first.
    ///
    /// ```
    /// use evenkeel_pool::{Finding, Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().counted("files", 20).build()?;
    /// let left = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
    /// left.set_counted_held_max(Some(30));
    /// let forgotten = left.count("files", 2)?;
    /// pool.tick(31);
    /// let found = pool.findings();
    /// let [Finding::UnitsHeldTooLong(held)] = found.as_slice() else { panic!("{found:?}") };
    /// assert_eq!((held.component.as_str(), held.units, held.seconds), ("mic", 2, 31));
    /// # drop(forgotten);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_counted_held_max(&self, seconds: Option<u32>) {
        let (memory, seconds) = (self.root().memory(), seconds.unwrap_or(u32::MAX).max(1));
        memory.core.account(self.number()).counted_patience.set(seconds);
        memory.watch.lower_counted_patience_to(seconds);
    }

    /// For how many seconds it may hold a buffer before that is a [finding](Pool::findings), at least one; none: for ever. Five
    /// minutes at first.
    pub fn set_held_max(&self, seconds: Option<u32>) {
        let (memory, seconds) = (self.root().memory(), seconds.unwrap_or(u32::MAX).max(1));
        memory.core.account(self.number()).patience.set(seconds);
        memory.watch.lower_patience_to(seconds);
    }
}
