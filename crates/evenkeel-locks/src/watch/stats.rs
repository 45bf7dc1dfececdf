//! What locks and classes counted, for people and for programs.

use super::cycle::{self, Holder};
use super::event;
use super::histogram::Histogram;
use super::registry::{self, Cold};
use super::sys::Site;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Times it was taken.
    pub acquisitions: u64,
    /// Times it was waited for.
    pub contended: u64,
    /// Times of those that it was not had: the time limit came first, or the thread was in its own way.
    pub given_up: u64,
    /// How long it was waited for, each time.
    pub waits: Histogram,
    /// How long it was held: each of the first times, then fewer, one in 512 in the end.
    pub holds: Histogram,
    /// The longest wait.
    pub longest_wait: Duration,
    /// The longest hold that was seen, and where the lock was taken. Seen are those that were timed,
    /// those that somebody waited for over 5 ms, and those that a [`Watch`](crate::watch::Watch) saw; of locks
    /// that are awaited those that were timed, and from when somebody waited for them.
    pub longest_hold: Option<(Duration, Site)>,
}

impl Totals {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.acquisitions += other.acquisitions;
        self.contended += other.contended;
        self.given_up += other.given_up;
        self.waits.merge(&other.waits);
        self.holds.merge(&other.holds);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        let longest = [self.longest_hold, other.longest_hold].into_iter().flatten();
        self.longest_hold = longest.max_by_key(|(held, _)| *held);
    }

    /// The share of acquisitions that had to wait.
    #[must_use]
    pub fn contention(&self) -> f64 {
        // What is passed on of the acquisitions may lag behind the waits.
        let waited = self.contended.saturating_sub(self.given_up).min(self.acquisitions);
        waited as f64 / self.acquisitions.max(1) as f64
    }
}

/// What one lock counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockStats {
    /// Its name, or where it was made.
    pub name: String,
    /// Where it was made.
    pub site: Site,
    /// Its number in this process, from 1.
    pub number: u32,
    /// Those that held it at some moment while this was made: threads, or tasks where it is awaited.
    pub holders: Vec<Holder>,
    /// What it counted.
    pub totals: Totals,
}

impl LockStats {
    /// With the threads that hold it.
    pub(crate) fn of(cold: &Cold, mut holders: Vec<Holder>) -> Self {
        let class = cold.class;
        holders.extend(cold.tasks.holders());
        Self {
            name: class.name.clone(),
            site: class.site,
            number: cold.number,
            holders,
            totals: cold.totals(),
        }
    }
}

impl std::ops::Deref for LockStats {
    type Target = Totals;
    fn deref(&self) -> &Totals {
        &self.totals
    }
}

/// What the locks of one class counted, those included that are dropped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClassStats {
    /// The class's name, or where its locks were made.
    pub name: String,
    /// Where its first lock was made.
    pub site: Site,
    /// How many of its locks are there that were ever taken.
    pub locks: usize,
    /// What they counted.
    pub totals: Totals,
}

impl std::ops::Deref for ClassStats {
    type Target = Totals;
    fn deref(&self) -> &Totals {
        &self.totals
    }
}

/// All that was counted, at some moment. Its text is a table for people.
///
/// ```
/// use evenkeel_locks::{unranked::Mutex, watch};
///
/// let lock = Mutex::named("jobs", 0);
/// *lock.lock() += 1;
/// let snapshot = watch::snapshot();
/// let jobs = snapshot.classes.iter().find(|class| class.name == "jobs").unwrap();
/// assert_eq!(jobs.acquisitions, 1);
/// println!("{snapshot}");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Each lock that was ever taken and is not dropped.
    pub locks: Vec<LockStats>,
    /// Each class.
    pub classes: Vec<ClassStats>,
    /// What was found.
    pub found: event::Found,
    /// There are so many classes that the order of the latest is not checked.
    pub has_too_many_classes: bool,
}

/// What all watched locks and those that are awaited counted, as they go on. What a lock counted since it was last looked at,
/// 64 acquisitions at most, is missing.
#[must_use]
pub fn snapshot() -> Snapshot {
    let mut holders = cycle::all_holders();
    let stats = |lock: &Arc<Cold>| LockStats::of(lock, holders.remove(&lock.number).unwrap_or_default());
    Snapshot {
        locks: registry::locks().iter().map(stats).collect(),
        classes: registry::classes(),
        found: event::found(),
        has_too_many_classes: registry::has_too_many_classes(),
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28} {:>6} {:>12} {:>7} {:>9} {:>9} {:>9} {:>9}  longest hold",
            "class", "locks", "taken", "waits", "wait p50", "wait p99", "hold p50", "hold p99"
        )?;
        for class in &self.classes {
            let quantile = |histogram: &Histogram, share| {
                histogram.quantile(share).map_or_else(|| "-".to_owned(), human)
            };
            write!(
                f,
                "{:<28} {:>6} {:>12} {:>6.2}% {:>9} {:>9} {:>9} {:>9}",
                class.name,
                class.locks,
                class.acquisitions,
                class.contention() * 100.0,
                quantile(&class.waits, 0.5),
                quantile(&class.waits, 0.99),
                quantile(&class.holds, 0.5),
                quantile(&class.holds, 0.99),
            )?;
            match class.longest_hold {
                Some((held, site)) => writeln!(f, "  {} at {site}", human(held))?,
                None => writeln!(f)?,
            }
        }
        write!(f, "{}", self.found)
    }
}

/// Three digits and a unit.
pub(crate) fn human(duration: Duration) -> String {
    let ns = duration.as_nanos() as f64;
    let (figure, unit) = match ns {
        ..1e3 => (ns, "ns"),
        ..1e6 => (ns / 1e3, "us"),
        ..1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if figure < 10.0 && ns >= 1e3 { 1 } else { 0 };
    format!("{figure:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_for_people() {
        let of = |ns| human(Duration::from_nanos(ns));
        assert_eq!([of(7), of(1_500), of(25_000), of(3_000_000_000)], ["7 ns", "1.5 us", "25 us", "3.0 s"]);
    }
}
