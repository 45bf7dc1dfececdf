//! Who holds what, where it was taken, and for how long.

use crate::arena::Memory;
use crate::beside::OFF;
use crate::leaks::look;
use evenkeel_locks::watch::Site;
use std::collections::BTreeMap;
use std::fmt;

/// Holders that an error names.
const NAMED_MAX: usize = 3;

/// Buffers that one component took at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The channel.
    pub channel: String,
    /// The component in it.
    pub component: String,
    /// Where in the source they were taken, as `file:line:column`; `unknown` where that was not noted.
    pub site: String,
    /// How many.
    pub buffers: u32,
    /// Their bytes together.
    pub bytes: u64,
    /// For how long the oldest has been held, in seconds as the pool was told of them.
    pub oldest_seconds: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, component, site, buffers, .. } = self;
        write!(f, "{channel}/{component} ({buffers}, taken at {site})")
    }
}

/// What one account took at one place.
#[derive(Default)]
struct Taken {
    site: Option<Site>,
    buffers: u32,
    bytes: u64,
    oldest_seconds: u32,
}

impl Taken {
    fn and(self, more: &Self) -> Self {
        let (buffers, bytes) = (self.buffers + more.buffers, self.bytes + more.bytes);
        Self { buffers, bytes, oldest_seconds: self.oldest_seconds.max(more.oldest_seconds), ..self }
    }
}

/// What accounts took at places, by the addresses of these: a place compares by its words, which takes longer.
fn by_address(memory: &Memory, tier: Option<usize>) -> BTreeMap<(u32, usize), Taken> {
    let now = memory.watch.seconds();
    let mut found: BTreeMap<(u32, usize), Taken> = BTreeMap::new();
    let tiers = 0..memory.core.tiers.len();
    for at in tiers.filter(|at| tier.is_none_or(|tier| tier == *at)) {
        for slot in memory.core.held(at) {
            let Some(seen) = look(memory, at, slot) else { continue };
            let address = seen.site.map_or(0, |site| std::ptr::from_ref(site).addr());
            let taken = found.entry((seen.account, address)).or_default();
            taken.site = seen.site;
            taken.buffers += 1;
            taken.bytes += memory.core.tiers[at].slot_bytes;
            if seen.holding.since != OFF {
                taken.oldest_seconds = taken.oldest_seconds.max(seen.age(now));
            }
        }
    }
    found
}

/// The holders of a tier, or of all tiers, who hold most first, at most so many. Words are made of those alone.
fn most(memory: &Memory, tier: Option<usize>, named_max: usize) -> Vec<Holder> {
    // One place may have several addresses.
    let mut found: BTreeMap<(u32, Option<Site>), Taken> = BTreeMap::new();
    for ((account, _), taken) in by_address(memory, tier) {
        let all = found.entry((account, taken.site)).or_default();
        *all = taken.and(all);
    }
    let mut all: Vec<_> = found.into_iter().collect();
    all.sort_by_key(|(_, taken)| std::cmp::Reverse(taken.bytes));
    let named = all.into_iter().filter_map(|((account, site), taken)| {
        let Taken { buffers, bytes, oldest_seconds, .. } = taken;
        let account = memory.core.known(account)?;
        let site = site.map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let (channel, component) = (account.channel.name.clone(), account.name.clone());
        Some(Holder { channel, component, site, buffers, bytes, oldest_seconds })
    });
    named.take(named_max).collect()
}

/// All holders, who hold most first.
pub(crate) fn holders(memory: &Memory) -> Vec<Holder> {
    most(memory, None, usize::MAX)
}

pub(crate) fn largest(memory: &Memory, tier: usize) -> Vec<Holder> {
    most(memory, Some(tier), NAMED_MAX)
}
