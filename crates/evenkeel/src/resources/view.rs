//! A slice of the pool: what one coordinator, or one channel, sees of it and may touch.

use super::manager::{
    Held, NotGivenBack, NotReleased, Request, ResourceError, ResourceHandle, ResourceLimit, ResourceMetrics,
    ResourceUsage, Violations, Want,
};
use super::{Components, CountedHolder, HOUSE, ResourcePool, SHARED, THREADS, Taken, Usage, Used};
use std::fmt;
use std::sync::Arc;

/// How often figures that do not fit each other are read again: they are of moments, and meanwhile somebody takes.
const LOOKS_MAX: usize = 5;

/// Somebody reached for what is another's. It was refused, and is reported as the fault `EK-0600`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{whose} reached for what is {held_by}'s{}: refused", if *.of_another_pool { ", of another pool" } else { "" })]
#[non_exhaustive]
pub struct Breach {
    /// Who was asked, and whose slice it is.
    pub whose: String,
    /// Whose it is that was reached for: channel and component.
    pub held_by: String,
    /// Whether it is not even of the same pool.
    pub of_another_pool: bool,
    /// The channel that reached, if it is one.
    pub channel: Option<String>,
}

/// The service's own threads go after everything else.
pub(crate) fn is_own_thread(holder: &CountedHolder) -> bool {
    holder.channel == HOUSE && holder.kind == THREADS
}

type Within = dyn Fn(&str, &str) -> bool + Send + Sync;

/// A slice of a pool.
#[derive(Clone)]
pub struct ResourceView {
    pool: ResourcePool,
    whose: String,
    channel: Option<String>,
    within: Arc<Within>,
}

impl fmt::Debug for ResourceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceView").field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl ResourceView {
    /// All of it.
    pub(crate) fn all(pool: ResourcePool, whose: &str) -> Self {
        Self { pool, whose: whose.to_owned(), channel: None, within: Arc::new(|_, _| true) }
    }

    /// Those components of channels for which this says yes.
    pub(crate) fn of(
        pool: ResourcePool,
        whose: &str,
        within: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { pool, whose: whose.to_owned(), channel: None, within: Arc::new(within) }
    }

    /// One channel.
    pub(crate) fn of_channel(pool: ResourcePool, channel: &str) -> Self {
        let own = channel.to_owned();
        let within = Arc::new(move |channel: &str, _: &str| channel == own);
        Self { pool, whose: format!("channel {channel}"), channel: Some(channel.to_owned()), within }
    }

    fn breach(&self, held_by: (&str, &str), of_another_pool: bool) -> Breach {
        let (whose, channel) = (self.whose.clone(), self.channel.clone());
        let breach =
            Breach { whose, held_by: format!("{}/{}", held_by.0, held_by.1), of_another_pool, channel };
        self.pool.breached(&breach);
        breach
    }

    fn check(&self, handle: &ResourceHandle) -> Result<(), Breach> {
        let is_of_pool = self.pool.is(&handle.pool);
        if is_of_pool && (self.within)(&handle.channel, &handle.component) {
            return Ok(());
        }
        Err(self.breach(handle.holder(), !is_of_pool))
    }

    #[track_caller]
    pub(super) fn allocate(&self, request: Request) -> Result<ResourceHandle, ResourceError> {
        let Request { channel, component, want, when } = request;
        let name = channel.clone().unwrap_or_else(|| SHARED.to_owned());
        if !(self.within)(&name, &component) {
            return Err(self.breach((&name, &component), false).into());
        }
        let account = self.pool.account(channel.as_deref(), &component, None)?;
        // What no tier fits is a chain, of which little is wasted.
        let tiers = self.pool.tiers();
        let fits = |bytes: usize| tiers.iter().any(|tier| tier.bytes == bytes) || bytes <= tiers[0].bytes;
        let held = match want {
            Want::Bytes(bytes) if fits(bytes) => account.take_or(bytes, when)?.given().map(Held::Buffer),
            Want::Bytes(bytes) => account.take_chain_or(bytes, when)?.given().map(Held::Chain),
            Want::Units(kind, units) => match account.count_or(&kind, units, when)? {
                Taken::Given(units) => Some(Held::Units(units)),
                Taken::Shed => None,
            },
        };
        let Some(held) = held else { return Err(ResourceError::Shed { channel: name, component }) };
        Ok(ResourceHandle { held, pool: self.pool.clone(), channel: name, component })
    }

    pub(super) fn deallocate(&self, handle: ResourceHandle) -> Result<(), Box<NotGivenBack>> {
        match self.check(&handle) {
            Ok(()) => Ok(()),
            Err(breach) => Err(Box::new(NotGivenBack { breach, handle })),
        }
    }

    pub(super) fn validate_boundaries(&self, handle: &ResourceHandle) -> Result<(), Breach> {
        self.check(handle)
    }

    /// Channels and components of this slice.
    fn accounts(&self) -> Vec<(String, Usage, Components)> {
        let all = self.pool.accounts().into_iter().filter_map(|(name, channel, mut components)| {
            components.retain(|(component, _)| (self.within)(&name, component));
            let is_whole = self.channel.as_deref() == Some(name.as_str());
            (is_whole || !components.is_empty()).then(|| (name, channel.usage(), components))
        });
        all.collect()
    }

    pub(super) fn limits(&self) -> Vec<ResourceLimit> {
        let mut limits = Vec::new();
        for (channel, usage, components) in self.accounts() {
            let Used { reserve, max, .. } = usage.bytes;
            limits.push(ResourceLimit {
                channel: channel.clone(),
                component: None,
                bytes_reserve: reserve,
                bytes_max: max,
            });
            limits.extend(components.into_iter().map(|(component, account)| ResourceLimit {
                channel: channel.clone(),
                component: Some(component),
                bytes_reserve: 0,
                bytes_max: account.bytes_max(),
            }));
        }
        limits
    }

    pub(super) fn usage(&self) -> Vec<ResourceUsage> {
        let mut all = Vec::new();
        for (channel, usage, components) in self.accounts() {
            let counted = usage.counted.iter().map(|(kind, used)| (kind.clone(), used.held())).collect();
            let bytes = usage.bytes.held();
            all.push(ResourceUsage { channel: channel.clone(), component: None, bytes, counted });
            all.extend(components.into_iter().map(|(component, account)| ResourceUsage {
                channel: channel.clone(),
                component: Some(component),
                bytes: account.bytes(),
                counted: Vec::new(),
            }));
        }
        all
    }

    pub(super) fn verify_isolation(&self) -> Result<(), Violations> {
        let mut found = Vec::new();
        for _ in 0..LOOKS_MAX {
            found = self.violations();
            if found.is_empty() {
                return Ok(());
            }
        }
        Err(Violations(found))
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (channel, usage, components) in self.accounts() {
            // What it had when its limits were lowered it may keep.
            found.extend(
                usage.exceeded.iter().map(|what| format!("channel {channel} has more {what} than it may")),
            );
            // Without its bytes: the last of a source may be taken beyond them.
            let of_components: u64 = components.iter().map(|(_, account)| account.bytes()).sum();
            if of_components > usage.bytes.held() {
                found.push(format!(
                    "the components of channel {channel} have {of_components} bytes, and itself only {}",
                    usage.bytes.held()
                ));
            }
        }
        let holders = self.pool.holders();
        let unknown = holders.iter().filter(|holder| self.pool.usage(&holder.channel).is_none());
        found.extend(unknown.map(|holder| format!("{holder} is in no books")));
        found
    }

    pub(super) fn verify_cleanup(&self) -> Result<(), NotReleased> {
        let mut holders = self.pool.holders();
        holders.retain(|holder| (self.within)(&holder.channel, &holder.component));
        let mut counted = self.pool.counted_holders();
        counted.retain(|holder| !is_own_thread(holder) && (self.within)(&holder.channel, &holder.component));
        if holders.is_empty() && counted.is_empty() {
            return Ok(());
        }
        Err(NotReleased { holders, counted })
    }

    pub(super) fn metrics(&self) -> ResourceMetrics {
        let is_within = |channel: &str, component: &str| (self.within)(channel, component);
        let (mut holders, mut counted_holders) = (self.pool.holders(), self.pool.counted_holders());
        holders.retain(|holder| is_within(&holder.channel, &holder.component));
        counted_holders.retain(|holder| is_within(&holder.channel, &holder.component));
        ResourceMetrics {
            tiers: self.pool.tiers(),
            usage: self.usage(),
            holders,
            counted_holders,
            resident_bytes: self.pool.resident_bytes().map_err(|error| error.kind()),
        }
    }
}
