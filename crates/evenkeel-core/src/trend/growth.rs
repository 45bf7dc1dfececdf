//! How fast memory grows.

use super::Window;

/// Points that a watch keeps: enough for tight bounds, few enough to look at all two of them in microseconds.
const POINTS: usize = 128;

/// When growth is judged, and what is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GrowthLimits {
    /// Seconds from the first figure on that are not looked at: what a program fills at first is not growth.
    pub warm_up_seconds: f64,
    /// Seconds that have to be covered before anything is said.
    pub covered_seconds: f64,
    /// Bytes an hour that are too many.
    pub bytes_an_hour_max: f64,
    /// An alert ends below this share of them.
    pub ends_below: f64,
}

impl Default for GrowthLimits {
    fn default() -> Self {
        Self { warm_up_seconds: 600.0, covered_seconds: 3600.0, bytes_an_hour_max: 1e6, ends_below: 0.8 }
    }
}

/// How fast memory grows, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Bytes an hour.
    pub bytes_an_hour: f64,
    /// With 95 % confidence it is at least so much.
    pub low: f64,
    /// And at most so much.
    pub high: f64,
    /// Seconds over which it was seen.
    pub covered_seconds: f64,
}

/// An alert that began or ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GrowthAlert {
    /// Memory surely grows faster than it may: even the lower bound is above the limit.
    Began(Growth),
    /// It does not any more.
    Ended(Growth),
}

/// Told from time to time how many bytes are resident, it says how fast they grow, and when that is too fast.
///
/// ```
/// use evenkeel_core::trend::{GrowthAlert, GrowthLimits, GrowthWatch};
///
/// let mut watch = GrowthWatch::new(GrowthLimits::default());
/// // A megabyte and a half an hour, for two hours.
/// let alerts: Vec<_> = (0..7_200_u32).filter_map(|second| watch.feed(f64::from(second), u64::from(second) * 417)).collect();
/// assert!(matches!(alerts.as_slice(), [GrowthAlert::Began(growth)] if (growth.bytes_an_hour - 1.5e6).abs() < 5e3));
/// ```
#[derive(Clone, Debug)]
pub struct GrowthWatch {
    limits: GrowthLimits,
    began: Option<f64>,
    window: Window,
    growth: Option<Growth>,
    is_alert: bool,
}

impl GrowthWatch {
    /// One with these limits.
    pub fn new(limits: GrowthLimits) -> Self {
        // The points span somewhat more than has to be covered, so that the window covers it once it is full.
        let apart = limits.covered_seconds.max(0.0) / (POINTS as f64 - 8.0);
        let window = Window::new(POINTS, apart);
        Self { limits, began: None, window, growth: None, is_alert: false }
    }

    /// So many bytes are resident at a second. What has begun or ended with that.
    pub fn feed(&mut self, seconds: f64, bytes: u64) -> Option<GrowthAlert> {
        if !seconds.is_finite() {
            return None;
        }
        let began = *self.began.get_or_insert(seconds);
        if seconds - began < self.limits.warm_up_seconds || !self.window.push(seconds, bytes as f64) {
            return None;
        }
        let covered_seconds = self.window.covers_seconds();
        if covered_seconds < self.limits.covered_seconds {
            return None;
        }
        let slope = self.window.slope()?;
        let an_hour = |a_second: f64| a_second * 3600.0;
        let (low, high) = (an_hour(slope.low), an_hour(slope.high));
        let growth = Growth { bytes_an_hour: an_hour(slope.estimate), low, high, covered_seconds };
        self.growth = Some(growth);
        let max = self.limits.bytes_an_hour_max;
        if !self.is_alert && growth.low > max {
            self.is_alert = true;
            return Some(GrowthAlert::Began(growth));
        }
        if self.is_alert && growth.bytes_an_hour < max * self.limits.ends_below {
            self.is_alert = false;
            return Some(GrowthAlert::Ended(growth));
        }
        None
    }

    /// How fast they grow; none while too little time is covered.
    pub fn growth(&self) -> Option<Growth> {
        self.growth
    }

    /// Whether that is too fast.
    pub fn is_alert(&self) -> bool {
        self.is_alert
    }
}
