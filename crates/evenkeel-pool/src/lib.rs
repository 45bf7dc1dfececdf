//! Tiered buffers with quotas: memory that is reserved once, handed out in nanoseconds, isolated by channel,
//! and accounted for to the last byte.
//!
//! A [`Pool`] has tiers of buffers of one size each. A [`Channel`] has a reserve of each tier, which is its alone, and may
//! borrow more while there is some; an [`Account`] is a component of it, with a limit of its own. A [`Buffer`] is taken by
//! an account and given back by dropping it, in any thread; frozen, it is cut into [`Slice`]s without copying. What is
//! larger or odder than a tier is a [`Chain`].
//!
//! The same books count bytes of all tiers together, and what is not memory of the pool: [`Counted`] thread slots, file
//! handles, whatever it was [told of](PoolBuilder::counted). [`Limits`] may change while a channel runs, and it may be let
//! go. Where nothing is left the caller chooses what [happens](WhenExhausted). Memory of free buffers is given back to
//! the system where it is [asked for](Pool::shrink), or [bounded](PoolBuilder::resident_max).
//!
//! What holds, at every moment:
//! * No channel has more than its limit, but for what it had when that was lowered and what is taken
//!   [beyond](Account::take_beyond) it; and none that has less than its reserve is refused, whatever others do.
//! * A buffer shows nothing of what another channel left in it.
//! * A buffer is given back once, and nobody has it then: anything else does not compile.
#![cfg_attr(evenkeel_pool_loom, allow(dead_code, reason = "loom tries the books, not the memory"))]
#![allow(unexpected_cfgs, reason = "only the tests under loom set `evenkeel_pool_loom`")]

mod account;
mod arena;
mod beside;
mod buffer;
mod chain;
mod channel;
mod core;
mod counted;
mod depot;
mod error;
mod figures;
mod foreign;
mod gate;
mod holders;
mod leaks;
mod magazine;
mod patterns;
mod pool;
mod quota;
mod resident;
mod seat;
mod slice;
mod sync;
mod taking;
mod waiting;

#[cfg(all(test, evenkeel_pool_loom))]
mod interleavings;

pub use buffer::Buffer;
pub use chain::Chain;
pub use channel::{Channel, Limits, Usage, Used};
pub use counted::{Counted, CountedHolder};
pub use error::{BuildError, Exhausted, Refused, Short, What};
pub use figures::{Fragmentation, Resident, resident, resident_in_detail};
pub use foreign::{Foreign, Owned};
pub use holders::Holder;
pub use leaks::{Damage, Finding, Held, HeldUnits, LeakMode, LeakQuery, Leaks, Trace};
pub use patterns::{Histogram, Pattern, Per};
pub use pool::{Account, Pool, PoolBuilder, Tier};
pub use resident::Reclaimed;
pub use slice::Slice;
pub use taking::{Taken, WhenExhausted};
