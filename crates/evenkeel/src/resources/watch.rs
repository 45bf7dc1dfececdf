//! What is seen of a pool once a second: what is held too long or never comes back, what is nearly used up, what is held in
//! vain, and whether the process grows. What is found is an [`Alert`]; who is told makes it a fault.
//!
//! What is looked at is a moment's work, on the thread `ek-watch`: no thread is made for it, and where nobody ever took
//! anything nothing is looked at.

use super::{Inner, ResourcePool};
use crate::clock;
use evenkeel_core::fault::{Code, Severity};
use evenkeel_core::trend::{FragmentationWatch, GrowthAlert, GrowthLimits, GrowthWatch, Levels, USAGE};
use evenkeel_hierarchy::{BufferUpdate, Mutex, with_root};
use evenkeel_pool::{Finding, Held};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// By how much a share has to fall below a level before that is over.
const MARGIN: f64 = 0.05;

/// Something that whoever looks after the service should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    /// Channel and component, where it is somebody's.
    pub(crate) whose: Option<(String, Option<String>)>,
    /// In words, for those inside: it names places in the source.
    pub(crate) text: String,
}

/// What was seen so far.
struct Seen {
    usage: BTreeMap<String, Levels>,
    fragmentation: FragmentationWatch,
    growth: GrowthWatch,
}

/// Looks at a pool.
pub(crate) struct PoolWatch {
    pool: Weak<Inner>,
    began_ns: u64,
    /// Only figures are compared under it.
    seen: Mutex<BufferUpdate, Seen>,
}

impl PoolWatch {
    pub(crate) fn new(pool: &ResourcePool) -> Self {
        let growth = GrowthWatch::new(GrowthLimits::default());
        let seen = Seen { usage: BTreeMap::new(), fragmentation: FragmentationWatch::default(), growth };
        Self { pool: Arc::downgrade(&pool.0), began_ns: clock::mono().as_nanos(), seen: Mutex::new(seen) }
    }

    /// What is new since the last look.
    pub(crate) fn look(&self) -> Vec<Alert> {
        let Some(pool) = self.pool.upgrade().map(ResourcePool) else { return Vec::new() };
        let nanos = clock::mono().as_nanos().saturating_sub(self.began_ns);
        let resident = evenkeel_pool::resident().ok();
        self.look_at(&pool, nanos / 1_000_000_000, resident)
    }

    /// The same, so many seconds after the first look, with so many bytes of the process in memory.
    pub(super) fn look_at(&self, pool: &ResourcePool, seconds: u64, resident: Option<u64>) -> Vec<Alert> {
        let inner = &pool.0.pool;
        // The first second is one too: what was taken at none is not known.
        inner.tick(u32::try_from(seconds + 1).unwrap_or(u32::MAX));
        let mut alerts: Vec<Alert> = inner.findings().into_iter().filter_map(of_finding).collect();
        let (shares, held) = (shares(pool), inner.fragmentation());
        with_root(|house| {
            let mut seen = self.seen.lock(house);
            for Share { name, whose, held, max } in shares {
                let levels = seen.usage.entry(name.clone()).or_insert_with(|| Levels::new(&USAGE, MARGIN));
                let change = levels.feed(held as f64 / max as f64);
                if let Some(change) = change.filter(|change| change.to > change.from) {
                    let percent = USAGE[change.to - 1] * 100.0;
                    let severity = if change.to < USAGE.len() { Severity::Notice } else { Severity::Warning };
                    let text = format!("{name}: {held} of {max} are in use, which is over {percent} %");
                    alerts.push(Alert { code: Code::USAGE_HIGH, severity, whose, text });
                }
            }
            if seen.fragmentation.feed(held.asked_bytes, held.held_bytes) == Some(true) {
                let text = format!(
                    "{} bytes are held for {} that were asked for",
                    held.held_bytes, held.asked_bytes
                );
                alerts.push(Alert {
                    code: Code::MEMORY_WASTED,
                    severity: Severity::Notice,
                    whose: None,
                    text,
                });
            }
            let grown = resident.and_then(|bytes| seen.growth.feed(seconds as f64, bytes));
            if let Some(GrowthAlert::Began(growth)) = grown {
                let (hourly, seconds) = (growth.bytes_an_hour, growth.covered_seconds);
                let text =
                    format!("resident memory grows by {hourly:.0} bytes an hour, seen over {seconds:.0} s");
                alerts.push(Alert {
                    code: Code::MEMORY_GROWS,
                    severity: Severity::Warning,
                    whose: None,
                    text,
                });
            }
        });
        alerts
    }
}

/// What somebody has of what they may have.
struct Share {
    name: String,
    whose: Option<(String, Option<String>)>,
    held: u64,
    max: u64,
}

/// Of the pool as a whole, of its tiers; and of each channel and component that has a limit of its own. Of what somebody
/// holds: what lies ready in the threads that gave it back is had by whoever needs it.
fn shares(pool: &ResourcePool) -> Vec<Share> {
    let tiers = pool.tiers();
    let whole: u64 = tiers.iter().map(|tier| tier.bytes as u64 * u64::from(tier.slots)).sum();
    let mut of_components = BTreeMap::<_, u64>::new();
    for holder in pool.holders() {
        *of_components.entry((holder.channel, holder.component)).or_default() += holder.bytes;
    }
    let bytes = of_components.values().sum();
    let mut all = Vec::new();
    for (channel, made, components) in pool.accounts() {
        let usage = made.usage();
        let held_by = |component: &String| {
            of_components.get(&(channel.clone(), component.clone())).copied().unwrap_or(0)
        };
        if usage.bytes.max < whole {
            let held = components.iter().map(|(component, _)| held_by(component)).sum();
            let max = usage.bytes.max;
            all.push(Share {
                name: format!("bytes of channel {channel}"),
                whose: Some((channel.clone(), None)),
                held,
                max,
            });
        }
        all.extend(components.into_iter().map(|(component, account)| Share {
            name: format!("bytes of {channel}/{component}"),
            held: held_by(&component),
            max: account.bytes_max(),
            whose: Some((channel.clone(), Some(component))),
        }));
    }
    all.push(Share { name: "bytes of the pool".to_owned(), whose: None, held: bytes, max: whole });
    all.extend(tiers.iter().zip(pool.0.pool.held()).map(|(tier, held)| Share {
        name: format!("buffers of {} bytes", tier.bytes),
        whose: None,
        held,
        max: u64::from(tier.slots),
    }));
    all.retain(|share| share.max > 0);
    all
}

fn of_finding(finding: Finding) -> Option<Alert> {
    let text = finding.to_string();
    let held = |held: Held| Some((held.channel, Some(held.component)));
    let (code, severity, whose) = match finding {
        Finding::HeldTooLong(of) => (Code::HELD_TOO_LONG, Severity::Warning, held(of)),
        Finding::UnitsHeldTooLong(of) => {
            (Code::HELD_TOO_LONG, Severity::Warning, Some((of.channel, Some(of.component))))
        }
        Finding::NeverReturned(of) => (Code::NEVER_RETURNED, Severity::Warning, held(of)),
        Finding::WrittenAfterReturn(damage) => {
            (Code::WRITTEN_AFTER_RETURN, Severity::Error, Some((damage.channel, Some(damage.component))))
        }
        Finding::Untold { .. } => (Code::HELD_TOO_LONG, Severity::Warning, None),
        _ => return None,
    };
    Some(Alert { code, severity, whose, text })
}
