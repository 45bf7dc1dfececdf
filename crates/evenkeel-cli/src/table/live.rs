//! When the table is drawn, and the rates in it.
//!
//! It costs nothing while nothing happens: a table that differs from the last in its clock alone is
//! drawn every ten seconds. Time comes from the caller.

use super::{Row, View};
use evenkeel_recorder::ChannelCounts;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest time between two tables.
const LEAST: Duration = Duration::from_millis(250);
/// How often a table is drawn in which only the clock has gone on.
const CLOCK: Duration = Duration::from_secs(10);
/// What a rate is measured over.
const WINDOW: Duration = Duration::from_secs(3);

/// What a recorder knows now.
pub(crate) struct Facts<'a> {
    pub(crate) channels: &'a [ChannelCounts],
    /// Why the log cannot be written now.
    pub(crate) trouble: Option<String>,
    /// Whether there is no later time to draw what is new.
    pub(crate) is_last: bool,
}

pub(crate) struct Live {
    dir: PathBuf,
    samples: VecDeque<Sample>,
    /// The last table, and when it was drawn.
    drawn: Option<(Duration, View)>,
    /// What a stop is expected to take, and when that was asked.
    forecast: Option<(Duration, Duration)>,
}

struct Sample {
    at: Duration,
    /// Bytes and records that each channel had accepted.
    accepted: Vec<(u64, u64)>,
}

impl Live {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), samples: VecDeque::new(), drawn: None, forecast: None }
    }

    /// The table to be drawn at a time since recording began, if one is to be drawn. The
    /// forecast is asked for seldom.
    pub(crate) fn turn(
        &mut self,
        at: Duration,
        facts: &Facts<'_>,
        forecast: impl FnOnce() -> Duration,
    ) -> Option<View> {
        let is_soon = |(before, _): &(Duration, View)| at.saturating_sub(*before) < LEAST;
        if !facts.is_last && self.drawn.as_ref().is_some_and(is_soon) {
            return None;
        }
        let rows = self.rows(at, facts.channels);
        if let Some((before, view)) = &self.drawn {
            let is_same = view.rows == rows && view.trouble == facts.trouble;
            if is_same && at.saturating_sub(*before) < CLOCK {
                return None;
            }
        }
        if self.forecast.is_none_or(|(before, _)| at.saturating_sub(before) >= CLOCK) {
            self.forecast = Some((at, forecast()));
        }
        let view = View {
            elapsed: at,
            dir: self.dir.clone(),
            forecast: self.forecast.map(|(_, takes)| takes),
            free_bytes: None,
            trouble: facts.trouble.clone(),
            rows,
        };
        self.drawn = Some((at, view.clone()));
        Some(view)
    }

    fn rows(&mut self, at: Duration, channels: &[ChannelCounts]) -> Vec<Row> {
        let accepted = channels.iter().map(|c| (c.accepted_bytes, c.accepted_records)).collect();
        self.samples.push_back(Sample { at, accepted });
        while self.samples.get(1).is_some_and(|second| at.saturating_sub(second.at) >= WINDOW) {
            self.samples.pop_front();
        }
        let first = &self.samples[0];
        let over = at.saturating_sub(first.at).as_secs_f64();
        let rate = |now: u64, before: u64| {
            if over > 0.0 { (now.saturating_sub(before) as f64 / over).round() as u64 } else { 0 }
        };
        let row = |(counts, &(bytes, records)): (&ChannelCounts, &(u64, u64))| Row {
            name: counts.name.clone(),
            condition: counts.condition(),
            bytes_per_second: rate(counts.accepted_bytes, bytes),
            records_per_second: rate(counts.accepted_records, records),
            accepted_bytes: counts.accepted_bytes,
            waiting_bytes: counts
                .accepted_bytes
                .saturating_sub(counts.committed_bytes)
                .saturating_sub(counts.dropped_bytes),
            dropped_records: counts.dropped_records,
            gaps: counts.gaps,
            fault: fault(counts),
        };
        channels.iter().zip(&first.accepted).map(row).collect()
    }
}

fn fault(counts: &ChannelCounts) -> Option<String> {
    let by_kernel = counts.kernel_dropped.filter(|dropped| *dropped > 0);
    let by_kernel = || by_kernel.map(|dropped| format!("the kernel dropped {dropped} datagrams"));
    counts.last_fault.clone().or_else(|| counts.fault.clone()).or_else(by_kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(bytes: u64) -> ChannelCounts {
        ChannelCounts {
            name: "left".to_owned(),
            reading: true,
            accepted_bytes: bytes,
            accepted_records: bytes / 10,
            ..ChannelCounts::default()
        }
    }

    fn look(live: &mut Live, at_ms: u64, counts: ChannelCounts) -> Option<View> {
        let facts = Facts { channels: &[counts], trouble: None, is_last: false };
        live.turn(Duration::from_millis(at_ms), &facts, || Duration::from_millis(at_ms))
    }

    // REQ M5
    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut live = Live::new(Path::new("rec"));
        let mut rates = Vec::new();
        for second in 0..10u64 {
            let bytes = 1_000 * second.min(4);
            let view = look(&mut live, second * 1_000, counts(bytes));
            rates.extend(view.map(|view| (view.rows[0].bytes_per_second, view.rows[0].records_per_second)));
        }
        // Two seconds after its end nothing changes any more, and nothing is drawn.
        let all = [(0, 0), (1000, 100), (1000, 100), (1000, 100), (1000, 100), (667, 67), (333, 33), (0, 0)];
        assert_eq!(rates, all);
    }

    // REQ M7
    #[test]
    fn where_only_the_clock_goes_on_a_table_is_drawn_every_ten_seconds() {
        let mut live = Live::new(Path::new("rec"));
        let mut drawn = Vec::new();
        let mut forecasts = Vec::new();
        for at_ms in (0..=25_000).step_by(50) {
            if let Some(view) = look(&mut live, at_ms, counts(7)) {
                drawn.push(at_ms);
                forecasts.push(view.forecast.map_or(0, |takes| takes.as_millis()));
            }
        }
        assert_eq!(drawn, [0, 10_000, 20_000]);
        assert_eq!(forecasts, [0, 10_000, 20_000]);
    }

    // REQ M7
    #[test]
    fn a_flood_of_changes_is_drawn_four_times_a_second() {
        let mut live = Live::new(Path::new("rec"));
        let changes = |at_ms: &u64| look(&mut live, *at_ms, counts(*at_ms)).is_some();
        assert_eq!((0..20_000).filter(changes).count(), 80);
        assert!(live.samples.len() <= 14, "{}", live.samples.len());
        let facts = Facts { channels: &[counts(20_000)], trouble: None, is_last: true };
        assert!(live.turn(Duration::from_secs(20), &facts, || Duration::ZERO).is_some());
    }

    // REQ M5
    #[test]
    fn what_a_kill_would_cost_is_what_is_neither_acknowledged_nor_dropped() {
        let mut live = Live::new(Path::new("rec"));
        let counts = ChannelCounts { committed_bytes: 60, dropped_bytes: 30, ..counts(100) };
        let row = look(&mut live, 0, counts).expect("the first is drawn").rows.remove(0);
        assert_eq!((row.accepted_bytes, row.waiting_bytes), (100, 10));
    }

    // REQ E1
    #[test]
    fn a_fault_is_drawn_at_once_and_datagrams_of_the_kernel_are_one() {
        let mut live = Live::new(Path::new("rec"));
        let fault = |view: Option<View>| view.and_then(|view| view.rows[0].fault.clone());
        assert_eq!(fault(look(&mut live, 0, counts(0))), None);
        let dropped = ChannelCounts { kernel_dropped: Some(3), ..counts(0) };
        let told = fault(look(&mut live, 1_000, dropped.clone()));
        assert_eq!(told.as_deref(), Some("the kernel dropped 3 datagrams"));
        let broken = ChannelCounts { fault: Some("it broke".to_owned()), ..dropped };
        assert_eq!(fault(look(&mut live, 2_000, broken)).as_deref(), Some("it broke"));
        let facts = Facts { channels: &[], trouble: Some("the disk is full".to_owned()), is_last: false };
        assert!(live.turn(Duration::from_secs(3), &facts, || Duration::ZERO).is_some());
    }
}
