//! Turns: ours, peer, ours, peer, so that whatever else the machine does hits all alike.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds that count; one before them warms up.
const ROUNDS: usize = 11;

type Turn<'a> = Box<dyn FnMut() -> Vec<f64> + 'a>;

/// Several contenders that do the same, in turns.
#[derive(Default)]
pub struct Race<'a> {
    contenders: Vec<(&'static str, Turn<'a>)>,
}

impl std::fmt::Debug for Race<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.contenders.iter().map(|(name, _)| name)).finish()
    }
}

impl<'a> Race<'a> {
    /// A race of nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a contender whose turn yields one figure.
    #[must_use]
    pub fn with(self, name: &'static str, mut turn: impl FnMut() -> f64 + 'a) -> Self {
        self.with_samples(name, move || vec![turn()])
    }

    /// Takes in a contender whose turn yields many samples of the figure.
    #[must_use]
    pub fn with_samples(mut self, name: &'static str, turn: impl FnMut() -> Vec<f64> + 'a) -> Self {
        self.contenders.push((name, Box::new(turn)));
        self
    }

    /// Runs all rounds. Nobody always follows the same one.
    #[must_use]
    pub fn run(mut self) -> Samples {
        let mut samples = Samples::default();
        for round in 0..=ROUNDS {
            for (name, turn) in &mut self.contenders {
                let taken = turn();
                if round > 0 {
                    samples.0.entry(name).or_default().push(taken);
                }
            }
            self.contenders.rotate_left(1);
        }
        samples
    }
}

/// The samples of each contender, by round.
#[derive(Clone, Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Vec<Vec<f64>>>);

impl Samples {
    /// The median over the rounds of the quantile within each; `None` of who did not run.
    #[must_use]
    pub fn quantile(&self, name: &str, quantile: f64) -> Option<f64> {
        let rounds = self.0.get(name)?;
        at(rounds.iter().filter_map(|round| at(round.clone(), quantile)).collect(), 0.5)
    }

    /// The same for all but one, who is ours.
    pub fn peers(&self, ours: &str, quantile: f64) -> impl Iterator<Item = (&'static str, f64)> {
        let peers = self.0.keys().filter(move |name| **name != ours);
        peers.filter_map(move |name| Some((*name, self.quantile(name, quantile)?)))
    }
}

/// The sample with this share of all samples below it.
fn at(mut samples: Vec<f64>, quantile: f64) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().checked_sub(1)?;
    Some(samples[(last as f64 * quantile).round() as usize])
}

/// Mean nanoseconds of `work` over so many inputs, which are made before and whose
/// outcomes are dropped after.
pub fn mean_ns<I, O>(count: usize, make: impl FnMut(usize) -> I, mut work: impl FnMut(I) -> O) -> f64 {
    let inputs: Vec<I> = (0..count).map(make).collect();
    let mut outcomes = Vec::with_capacity(count);
    let began = Instant::now();
    for input in inputs {
        outcomes.push(black_box(work(black_box(input))));
    }
    ns(began.elapsed()) / count as f64
}

/// A duration in nanoseconds.
#[must_use]
pub fn ns(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn all_take_turns_and_the_first_round_does_not_count() {
        let order = RefCell::new(Vec::new());
        let turn = |name, figure: f64| {
            order.borrow_mut().push(name);
            figure
        };
        let samples = Race::new().with("ours", || turn('o', 1.0)).with("peer", || turn('p', 2.0)).run();
        assert_eq!(samples.0["ours"].len(), ROUNDS);
        assert_eq!(order.borrow()[..6], ['o', 'p', 'p', 'o', 'o', 'p']);
        assert_eq!(samples.peers("ours", 0.5).collect::<Vec<_>>(), [("peer", 2.0)]);
    }

    #[test]
    fn a_quantile_is_the_median_of_the_rounds() {
        let round = |most: f64| (0..=100).map(|part| f64::from(part) / 100.0 * most).collect();
        let samples = Samples(BTreeMap::from([("ours", vec![round(1.0), round(100.0), round(10.0)])]));
        assert_eq!(samples.quantile("ours", 0.99), Some(9.9));
        assert_eq!(samples.quantile("ours", 0.5), Some(5.0));
        assert_eq!(samples.quantile("peer", 0.5), None);
    }

    #[test]
    fn every_input_is_worked_on_once() {
        let mut seen = Vec::new();
        assert!(mean_ns(3, |at| at, |at| seen.push(at)) >= 0.0);
        assert_eq!(seen, [0, 1, 2]);
    }
}
