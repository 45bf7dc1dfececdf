//! Which thread is dead, stuck or runs away.
//!
//! ```text
//! waiting --> busy --- beat, beat, ... --- silent for a heartbeat --> Stuck, or Runaway (on the CPU)
//!    ^          |                                                        |
//!    +----------+---------------- beats, or waits again: Recovered <-----+
//! ```
//!
//! Invariants:
//! 1. A thread that is busy and has not beaten since `t` is found by the first look at
//!    or after `t` + heartbeat, and [`Watch::next_look`] is never later than that.
//! 2. One that beats, or waits for work, is never called stuck.
//! 3. What was found is told once, until it has recovered.
//!
//! CPU time is known only at the looks. What a silence used before the first look that
//! saw it begin is taken from what it used after that look, inside of the bounds that both looks set.
//! A share of the CPU is measured from look to look over at least a heartbeat: a thread that
//! beats and yet uses too much is found within two heartbeats.
//!
//! Who looks late may have been held up together with all whom it watches: the process was stopped, the
//! machine paused, there was no processor to be had. [`Watch::woke_late`] begins their silence anew.
//!
//! A thread that counts its beats without reading a clock is taken to have beaten when that is
//! seen, and is found up to a heartbeat later.

use crate::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

/// Who looks later than this, and than a quarter of a heartbeat, was held up. 100 ms.
const LATE_MIN: Duration = Duration::from_millis(100);

/// A watched thread: whatever number the caller gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What is expected of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// How long it may be busy without a beat.
    pub heartbeat: Duration,
    /// Most CPU time it may use over a whole heartbeat, in thousandths of one core; `None`: all of it.
    pub cpu_share_max: Option<u16>,
}

/// What a thread looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Since when it does what it does; `None` while it waits for work, and cannot be stuck.
    pub busy_since: Option<Mono>,
    /// When it last said that it goes on.
    pub last_beat: Mono,
    /// How often it did.
    pub beats: u64,
    /// CPU time of the thread since it began, if it could be read.
    pub cpu: Option<Duration>,
}

/// What was found out about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The thread.
    pub id: WatchId,
    /// What it is.
    pub kind: FindingKind,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// Busy without a beat, and mostly not on the CPU: it waits for something.
    Stuck {
        /// Time since its last beat, or since it became busy.
        silent_for: Duration,
        /// CPU time that it used of it, if known.
        cpu: Option<Duration>,
    },
    /// On the CPU more than it may be: without a beat, for more than half of the
    /// time; or more than its share over a whole heartbeat, even if it beats.
    Runaway {
        /// The time that was looked at: since its last beat, or of the measurement.
        over: Duration,
        /// CPU time that it used of it.
        cpu: Duration,
        /// Whether it did not beat; otherwise it used more than its share.
        is_silent: bool,
    },
    /// What was found before is over.
    Recovered {
        /// How long it had lasted, from its beginning.
        after: Duration,
        /// Whether it was silent; otherwise it had used more than its share.
        was_silent: bool,
    },
    /// Its thread ended without having been asked to.
    Died,
}

/// CPU time at a look.
type Measured = (Mono, Duration);

/// A thread while it is watched.
#[derive(Clone, Debug)]
struct Watched {
    spec: WatchSpec,
    /// The last look, or the beginning of the watch.
    looked: Mono,
    /// Its latest beat, and how many it had.
    beat: Mono,
    beats: Option<u64>,
    /// Since when it is busy without a beat; `None` while it waits.
    quiet_since: Option<Mono>,
    /// The last look before that, and the first after it.
    before: Option<Measured>,
    after: Option<Measured>,
    latest: Option<Measured>,
    /// Beginning of the measurement of its share.
    window: Option<Measured>,
    /// Since when it is silent, if that was told.
    told_silent: Option<Mono>,
    /// Since when it uses more than its share, if that was told.
    told_share: Option<Mono>,
}

/// Watches threads; see the module's head.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::threads::{FindingKind, Sample, Watch, WatchId, WatchSpec};
/// use std::time::Duration;
///
/// let (second, id) = (Duration::from_secs(1), WatchId(1));
/// let (begin, mut watch, mut found) = (Mono::from_nanos(0), Watch::new(), Vec::new());
/// watch.watch(begin, id, WatchSpec { heartbeat: second, cpu_share_max: None });
///
/// let sample = Sample { busy_since: Some(begin), last_beat: begin, beats: 0, cpu: None };
/// watch.sample(begin, id, sample, &mut found);
/// let look = watch.next_look(begin).unwrap();
/// assert_eq!(look, begin.plus(second));
/// watch.sample(look, id, sample, &mut found);
/// assert_eq!(found[0].kind, FindingKind::Stuck { silent_for: second, cpu: None });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Watch {
    threads: BTreeMap<WatchId, Watched>,
}

impl Watch {
    /// One that watches nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches a thread from now on, anew if it was watched. Whoever waits for
    /// [`Watch::next_look`] is to ask again.
    pub fn watch(&mut self, now: Mono, id: WatchId, spec: WatchSpec) {
        let watched = Watched {
            spec,
            looked: now,
            beat: Mono::default(),
            beats: None,
            quiet_since: None,
            before: None,
            after: None,
            latest: None,
            window: None,
            told_silent: None,
            told_share: None,
        };
        self.threads.insert(id, watched);
    }

    /// Watches it no longer. Returns whether it was watched.
    pub fn forget(&mut self, id: WatchId) -> bool {
        self.threads.remove(&id).is_some()
    }

    /// Takes in what a thread looks like; appends to `out` what is new about it.
    /// One that is not watched is passed over.
    pub fn sample(&mut self, now: Mono, id: WatchId, sample: Sample, out: &mut Vec<Finding>) {
        if let Some(watched) = self.threads.get_mut(&id) {
            watched.look(now, &sample, |kind| out.push(Finding { id, kind }));
        }
    }

    /// Who looks now comes so much later than it was to. By much: silences that were not told yet begin now, as
    /// the others may have been held up as well.
    pub fn woke_late(&mut self, now: Mono, late: Duration) {
        for watched in self.threads.values_mut() {
            if watched.told_silent.is_none() && late > LATE_MIN.max(watched.spec.heartbeat / 4) {
                watched.beat = watched.beat.max(now);
            }
        }
    }

    /// A thread ended without having been asked to: it is watched no longer. `None` if it was not watched.
    pub fn died(&mut self, _now: Mono, id: WatchId) -> Option<Finding> {
        self.forget(id).then_some(Finding { id, kind: FindingKind::Died })
    }

    /// When to look at all threads again, not before `now`; `None` when none is watched.
    pub fn next_look(&self, now: Mono) -> Option<Mono> {
        self.threads.values().map(Watched::next_look).min().map(|at| at.max(now))
    }
}

impl Watched {
    fn next_look(&self) -> Mono {
        let heartbeat = self.spec.heartbeat;
        let Some(quiet_since) = self.quiet_since else {
            // It may have become busy right after the look.
            return self.looked.plus(heartbeat);
        };
        let measured = self.spec.cpu_share_max.and(self.window).map(|(at, _)| at.plus(heartbeat));
        let silent = if self.told_silent.is_some() { self.looked } else { quiet_since }.plus(heartbeat);
        measured.map_or(silent, |measured| measured.min(silent))
    }

    fn look(&mut self, now: Mono, sample: &Sample, mut tell: impl FnMut(FindingKind)) {
        let measured = sample.cpu.map(|cpu| (now, cpu));
        self.note_beat(now, sample);
        let quiet_since = sample.busy_since.map(|since| since.max(self.beat));
        if quiet_since != self.quiet_since {
            self.before = self.latest.filter(|(at, _)| quiet_since.is_some_and(|since| *at <= since));
            self.after = measured;
            self.quiet_since = quiet_since;
        }
        if let Some(since) = self.told_silent
            && quiet_since != Some(since)
        {
            let over = quiet_since.unwrap_or(now);
            tell(FindingKind::Recovered { after: over.since(since), was_silent: true });
            self.told_silent = None;
        }
        if let Some(since) = quiet_since
            && self.told_silent.is_none()
            && now.since(since) >= self.spec.heartbeat
        {
            let silent_for = now.since(since);
            tell(match measured.and_then(|measured| self.used_since(since, measured)) {
                Some(cpu) if cpu > silent_for / 2 => {
                    FindingKind::Runaway { over: silent_for, cpu, is_silent: true }
                }
                cpu => FindingKind::Stuck { silent_for, cpu },
            });
            self.told_silent = Some(since);
        }
        if let Some(measured) = measured {
            self.measure(measured, tell);
            self.latest = Some(measured);
        }
        self.looked = now;
    }

    fn note_beat(&mut self, now: Mono, sample: &Sample) {
        let has_beaten = self.beats.is_some_and(|beats| beats != sample.beats);
        let is_undated = has_beaten && sample.last_beat <= self.looked;
        self.beat = self.beat.max(if is_undated { now } else { sample.last_beat });
        self.beats = Some(sample.beats);
    }

    /// CPU time used since a silence began; see the module's head. `None` if nothing is known of it.
    fn used_since(&self, quiet_since: Mono, (now, cpu): Measured) -> Option<Duration> {
        let (seen, at_seen) = self.after?;
        let (unseen, later) = (seen.since(quiet_since), now.since(seen));
        let used_later = cpu.saturating_sub(at_seen);
        let (least, most) = match self.before {
            Some((at, before)) => {
                let used = at_seen.saturating_sub(before);
                (used.saturating_sub(quiet_since.since(at)).min(unseen), used.min(unseen))
            }
            None if later.is_zero() => return None,
            None => (Duration::ZERO, unseen),
        };
        let guess = if later.is_zero() {
            (least + most) / 2
        } else {
            unseen.mul_f64((used_later.as_secs_f64() / later.as_secs_f64()).min(1.0))
        };
        Some((used_later + guess.clamp(least, most)).min(now.since(quiet_since)))
    }

    /// Compares the CPU time with the share that it may use.
    fn measure(&mut self, measured: Measured, mut tell: impl FnMut(FindingKind)) {
        let (Some(share_max), (now, cpu)) = (self.spec.cpu_share_max, measured) else { return };
        let (begin, at_begin) = *self.window.get_or_insert(measured);
        let (over, cpu) = (now.since(begin), cpu.saturating_sub(at_begin));
        if over < self.spec.heartbeat || over.is_zero() {
            return;
        }
        self.window = Some(measured);
        let is_over = cpu.as_nanos() * 1_000 > over.as_nanos() * u128::from(share_max);
        match self.told_share {
            Some(since) if !is_over => {
                tell(FindingKind::Recovered { after: begin.since(since), was_silent: false });
                self.told_share = None;
            }
            // What is told as silent is told.
            None if is_over && self.told_silent.is_none() => {
                tell(FindingKind::Runaway { over, cpu, is_silent: false });
                self.told_share = Some(begin);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
