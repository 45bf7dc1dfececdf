//! Who holds what, where it was taken, and for how long.

use crate::arena::Memory;
use crate::beside::OFF;
use crate::leaks::look;
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

/// All holders of a tier, or of all tiers, who holds most first.
pub(crate) fn holders(memory: &Memory, tier: Option<usize>) -> Vec<Holder> {
    let now = memory.watch.seconds();
    let mut found: BTreeMap<(u32, String), Holder> = BTreeMap::new();
    let tiers = 0..memory.core.tiers.len();
    for at in tiers.filter(|at| tier.is_none_or(|tier| tier == *at)) {
        let slot_bytes = memory.core.tiers[at].slot_bytes;
        for slot in memory.core.held(at) {
            let Some(seen) = look(memory, at, slot) else { continue };
            let Some(state) = memory.core.known(seen.account) else { continue };
            let site = seen.site.map_or_else(|| "unknown".to_owned(), ToString::to_string);
            let age = if seen.holding.since == OFF { 0 } else { seen.age(now) };
            let holder = found.entry((seen.account, site)).or_insert_with_key(|(_, site)| Holder {
                channel: state.channel.name.clone(),
                component: state.name.clone(),
                site: site.clone(),
                buffers: 0,
                bytes: 0,
                oldest_seconds: 0,
            });
            holder.buffers += 1;
            holder.bytes += slot_bytes;
            holder.oldest_seconds = holder.oldest_seconds.max(age);
        }
    }
    let mut all: Vec<_> = found.into_values().collect();
    all.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    all
}

pub(crate) fn largest(memory: &Memory, tier: usize) -> Vec<Holder> {
    let mut all = holders(memory, Some(tier));
    all.truncate(NAMED_MAX);
    all
}
