//! What a queue may hold, what an item counts as, and what has passed.

/// What happens to an item that finds its queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFull {
    /// Whoever brings it keeps it, and may wait.
    #[default]
    Block,
    /// It is dropped.
    DropNewest,
    /// The oldest make room for it.
    DropOldest,
}

/// What one queue may hold, and how much of the draining is its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Items that may wait, as [`Queued::items`] counts them.
    pub items_max: u64,
    /// Bytes of memory that may wait, as [`Queued::memory`] counts them.
    pub bytes_max: u64,
    /// Its share of the draining beside the others' while all have something; `0` counts as `1`.
    pub weight: u32,
    /// What happens to what finds it full.
    pub on_full: OnFull,
}

impl Default for QueueLimits {
    /// 1,024 items, 1 MiB, the weight 1; who finds it full waits.
    fn default() -> Self {
        Self { items_max: 1024, bytes_max: 1 << 20, weight: 1, on_full: OnFull::Block }
    }
}

/// The most that one entry counts as, of items and of bytes: more than any has. What a user answers may be anything.
const WEIGHT_MAX: u64 = 1 << 40;

/// What can wait in a queue. What is answered stays the same while it waits; more than 2 to the power of 40 counts as that.
pub trait Queued {
    /// How many items it is: some are several in one.
    fn items(&self) -> u64 {
        1
    }

    /// Bytes of its payload.
    fn bytes(&self) -> u64;

    /// Bytes of memory that it keeps, its payload's or more.
    fn memory(&self) -> u64 {
        self.bytes()
    }

    /// Whether it only says something of the items around it: then it counts as nothing and is never dropped for
    /// want of room. Whoever puts such into a queue bounds how many there are.
    fn is_control(&self) -> bool {
        false
    }
}

impl Queued for evenkeel_pool::Slice {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn memory(&self) -> u64 {
        self.capacity() as u64
    }
}

impl Queued for evenkeel_pool::Buffer {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn memory(&self) -> u64 {
        self.capacity() as u64
    }
}

impl Queued for evenkeel_pool::Chain {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn memory(&self) -> u64 {
        self.capacity() as u64
    }
}

impl Queued for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn memory(&self) -> u64 {
        self.capacity() as u64
    }
}

/// What has passed a queue since it was made, and what waits in it. At every moment
/// `items_in = items_out + items_dropped + items`, and the same of bytes; counts begin anew behind the last number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Items that were accepted, also those that were then dropped.
    pub items_in: u64,
    /// Their payload, in bytes.
    pub bytes_in: u64,
    /// Items that were taken out.
    pub items_out: u64,
    /// Their payload, in bytes.
    pub bytes_out: u64,
    /// Items that were dropped: by the rule of the queue, or with it.
    pub items_dropped: u64,
    /// Their payload, in bytes.
    pub bytes_dropped: u64,
    /// Items that wait.
    pub items: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
    /// Memory that they keep, in bytes.
    pub memory: u64,
    /// Entries that wait: items, several of which may be one entry, and control.
    pub entries: u64,
}

/// What an entry counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) memory: u64,
}

impl Weight {
    pub(super) fn of(item: &impl Queued) -> Self {
        if item.is_control() {
            return Self::default();
        }
        let [items, bytes, memory] = [item.items(), item.bytes(), item.memory()].map(|of| of.min(WEIGHT_MAX));
        Self { items, bytes, memory }
    }
}

impl QueueCounts {
    pub(super) fn enter(&mut self, weight: Weight) {
        self.items_in = self.items_in.wrapping_add(weight.items);
        self.bytes_in = self.bytes_in.wrapping_add(weight.bytes);
        self.items += weight.items;
        self.bytes += weight.bytes;
        self.memory += weight.memory;
        self.entries += 1;
    }

    /// Never waited: accepted and dropped in one.
    pub(super) fn pass_by(&mut self, items: u64, bytes: u64) {
        self.items_in = self.items_in.wrapping_add(items);
        self.bytes_in = self.bytes_in.wrapping_add(bytes);
        self.items_dropped = self.items_dropped.wrapping_add(items);
        self.bytes_dropped = self.bytes_dropped.wrapping_add(bytes);
    }

    pub(super) fn leave(&mut self, weight: Weight, is_dropped: bool) {
        self.leave_all(weight, 1, is_dropped);
    }

    /// The same of so many entries, which have this weight together.
    pub(super) fn leave_all(&mut self, weight: Weight, entries: u64, is_dropped: bool) {
        let (items, bytes) = match is_dropped {
            true => (&mut self.items_dropped, &mut self.bytes_dropped),
            false => (&mut self.items_out, &mut self.bytes_out),
        };
        *items = items.wrapping_add(weight.items);
        *bytes = bytes.wrapping_add(weight.bytes);
        let less = |now: u64, by: u64| now.checked_sub(by).expect("invariant: an item weighs what it did");
        self.items = less(self.items, weight.items);
        self.bytes = less(self.bytes, weight.bytes);
        self.memory = less(self.memory, weight.memory);
        self.entries = less(self.entries, entries);
        assert!(self.is_whole(), "invariant: what came in went out, was dropped or waits");
    }

    /// Whether everything that came in went out, was dropped, or waits.
    pub fn is_whole(&self) -> bool {
        let all = |out: u64, dropped: u64, now: u64| out.wrapping_add(dropped).wrapping_add(now);
        self.items_in == all(self.items_out, self.items_dropped, self.items)
            && self.bytes_in == all(self.bytes_out, self.bytes_dropped, self.bytes)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.items_in, other.items_in),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.items_out, other.items_out),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.items_dropped, other.items_dropped),
            (&mut self.bytes_dropped, other.bytes_dropped),
            (&mut self.items, other.items),
            (&mut self.bytes, other.bytes),
            (&mut self.memory, other.memory),
            (&mut self.entries, other.entries),
        ] {
            *own = own.wrapping_add(others);
        }
    }
}
