//! Where a figure is going: slopes with their confidence, and alerts that do not flutter.
//!
//! Plain values: time and figures are arguments. A [`Window`] keeps a bounded number of points and says the slope through
//! them; [`GrowthWatch`] says how fast memory grows; [`Levels`] says when a share has crossed a limit, and
//! [`FragmentationWatch`] when too much of what is held is not used.

mod growth;
mod levels;

pub use growth::{Growth, GrowthAlert, GrowthLimits, GrowthWatch};
pub use levels::{FragmentationWatch, LevelChange, Levels, USAGE};

use std::collections::VecDeque;

/// How sure a slope's bounds are: 95 % lie within so many deviations of a normal distribution.
const DEVIATIONS: f64 = 1.959_963_985;

/// A slope, in units of the value a second, and between which bounds it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The median of the slopes between all two points.
    pub estimate: f64,
    /// It is at least so much.
    pub low: f64,
    /// It is at most so much.
    pub high: f64,
}

/// The slope through points of seconds and values: Theil and Sen's, the median of the slopes between all two of them, which up to
/// 29 % of wild points do not bend; and its bounds by Kendall's variance (P. K. Sen, JASA 63, 1968). None of fewer than
/// three points, or of points that are all of one second.
///
/// The bounds take the points to be independent of each other: where what disturbs one lasts until the next,
/// they are too narrow, so let points lie apart.
///
/// ```
/// use evenkeel_core::trend::slope;
///
/// let points: Vec<_> = (0..50).map(|second| (f64::from(second), 3.0 * f64::from(second))).collect();
/// assert_eq!(slope(&points).map(|slope| slope.estimate), Some(3.0));
/// ```
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    if points.len() < 3 {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (at, (time, value)) in points.iter().enumerate() {
        let later = points[at + 1..].iter().filter(|(other, _)| other != time);
        slopes.extend(later.map(|(other, end)| (end - value) / (other - time)));
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let (count, n) = (slopes.len(), points.len() as f64);
    let spread = DEVIATIONS * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let rank = |rank: f64| slopes[(rank.max(0.0) as usize).min(count - 1)];
    let half = count / 2;
    let estimate = if count % 2 == 1 { slopes[half] } else { f64::midpoint(slopes[half - 1], slopes[half]) };
    // Ranks count from one; rounded outwards.
    let low = rank(((count as f64 - spread) / 2.0).floor() - 1.0);
    let high = rank(((count as f64 + spread) / 2.0).ceil());
    Some(Slope { estimate, low, high })
}

/// The last points of a figure: no more than a number of them, and none closer to the one before than a time.
#[derive(Clone, Debug)]
pub struct Window {
    points: VecDeque<(f64, f64)>,
    points_max: usize,
    apart_seconds: f64,
}

impl Window {
    /// A window of so many points, at least three, that lie so many seconds apart.
    pub fn new(points_max: usize, apart_seconds: f64) -> Self {
        let points_max = points_max.max(3);
        Self { points: VecDeque::with_capacity(points_max), points_max, apart_seconds }
    }

    /// Takes a point in, unless it is too close to the one before, earlier than it, or not a number; the oldest goes where there is
    /// no room. Whether it was taken in.
    pub fn push(&mut self, seconds: f64, value: f64) -> bool {
        let is_apart =
            self.points.back().is_none_or(|(last, _)| seconds - last >= self.apart_seconds.max(0.0));
        let is_later = self.points.back().is_none_or(|(last, _)| seconds > *last);
        if !is_apart || !is_later || !seconds.is_finite() || !value.is_finite() {
            return false;
        }
        if self.points.len() == self.points_max {
            self.points.pop_front();
        }
        self.points.push_back((seconds, value));
        true
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Seconds from its first point to its last.
    pub fn covers_seconds(&self) -> f64 {
        match (self.points.front(), self.points.back()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        }
    }

    /// The slope through its points.
    pub fn slope(&self) -> Option<Slope> {
        let points: Vec<_> = self.points.iter().copied().collect();
        slope(&points)
    }
}
