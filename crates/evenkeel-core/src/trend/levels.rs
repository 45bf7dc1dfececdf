//! Limits that a share crosses, and crosses back further down, so that an alert does not flutter.

/// The levels of usage that are told of: 70, 85 and 95 % of a limit.
pub const USAGE: [f64; 3] = [0.70, 0.85, 0.95];

/// A share has gone from one level to another; 0 is below all limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// How many limits it was above.
    pub from: usize,
    /// How many it is above now.
    pub to: usize,
}

/// How many limits a share is above. It is above one from when it reaches it until it falls by more than a margin below it.
///
/// ```
/// use evenkeel_core::trend::{LevelChange, Levels, USAGE};
///
/// let mut usage = Levels::new(&USAGE, 0.05);
/// assert_eq!(usage.feed(0.90), Some(LevelChange { from: 0, to: 2 }));
/// assert_eq!(usage.feed(0.82), None);
/// assert_eq!(usage.feed(0.79), Some(LevelChange { from: 2, to: 1 }));
/// ```
#[derive(Clone, Debug)]
pub struct Levels {
    limits: Vec<f64>,
    margin: f64,
    level: usize,
}

impl Levels {
    /// Limits in any order, and the margin by which a share must fall below one.
    pub fn new(limits: &[f64], margin: f64) -> Self {
        let mut limits = limits.to_vec();
        limits.sort_unstable_by(f64::total_cmp);
        Self { limits, margin: margin.max(0.0), level: 0 }
    }

    /// How many limits it is above.
    pub fn level(&self) -> usize {
        self.level
    }

    /// It is so much now; whether its level has changed with that. What is not a number changes nothing.
    pub fn feed(&mut self, share: f64) -> Option<LevelChange> {
        if share.is_nan() {
            return None;
        }
        let reached = self.limits.iter().take_while(|limit| share >= **limit).count();
        let kept = self.limits.iter().take_while(|limit| share >= **limit - self.margin).count();
        let from = self.level;
        self.level = from.clamp(reached, kept);
        (self.level != from).then_some(LevelChange { from, to: self.level })
    }
}

/// Told how many bytes were asked for and how many are held for that, it says when too many are held in vain: internal
/// fragmentation.
///
/// ```
/// use evenkeel_core::trend::FragmentationWatch;
///
/// let mut watch = FragmentationWatch::default();
/// assert_eq!(watch.feed(90 << 20, 100 << 20), None, "once may be chance");
/// assert_eq!(watch.feed(90 << 20, 100 << 20), None);
/// assert_eq!(watch.feed(90 << 20, 100 << 20), Some(true));
/// assert!(watch.share().is_some_and(|share| (share - 0.1).abs() < 1e-9));
/// ```
#[derive(Clone, Debug)]
pub struct FragmentationWatch {
    levels: Levels,
    bytes_min: u64,
    rounds: u32,
    against: u32,
    share: Option<f64>,
}

impl Default for FragmentationWatch {
    /// Over 5 %, until it is below 4 %; of a mebibyte at least; after three rounds.
    fn default() -> Self {
        Self::new(0.05, 0.01, 1 << 20, 3)
    }
}

impl FragmentationWatch {
    /// An alert begins when more than a share is held in vain, so many times in a row, and ends when it is below that by more than
    /// a margin as often. Where fewer bytes than `bytes_min` are held, nothing is said of them.
    pub fn new(share_max: f64, margin: f64, bytes_min: u64, rounds: u32) -> Self {
        Self { levels: Levels::new(&[share_max], margin), bytes_min, rounds, against: 0, share: None }
    }

    /// So many bytes were asked for, and so many are held. Whether an alert has begun (`true`) or ended (`false`) with that.
    pub fn feed(&mut self, asked: u64, held: u64) -> Option<bool> {
        if held < self.bytes_min.max(1) {
            self.share = None;
            self.against = 0;
            return None;
        }
        let share = 1.0 - asked.min(held) as f64 / held as f64;
        self.share = Some(share);
        let mut next = self.levels.clone();
        if next.feed(share).is_none() {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < self.rounds {
            return None;
        }
        self.against = 0;
        self.levels = next;
        Some(self.is_alert())
    }

    /// What share is held in vain, from 0 to 1; none where too little is held.
    pub fn share(&self) -> Option<f64> {
        self.share
    }

    /// Whether that is too much, for a while.
    pub fn is_alert(&self) -> bool {
        self.levels.level() > 0
    }
}
