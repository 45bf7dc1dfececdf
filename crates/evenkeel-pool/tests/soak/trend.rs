//! Growth, of samples that jump: the slope of `evenkeel_core`, and how far samples lie from its line.

use evenkeel_core::trend::slope;

/// Samples that are looked at; of more, every so manyth.
const SAMPLES_MAX: usize = 1_000;
const SAMPLES_MIN: usize = 8;
/// From the median distance to the standard deviation, of what is normally distributed.
const SCALE: f64 = 1.4826;

/// A line through samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    pub(crate) per_second: f64,
    /// Where it lies with 95 % certainty.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// The samples' deviation from the line.
    pub(crate) noise: f64,
}

impl Trend {
    /// Of seconds and figures; `None` where there are too few.
    pub(crate) fn of(samples: &[(f64, f64)]) -> Option<Self> {
        let thin = samples.len().div_ceil(SAMPLES_MAX).max(1);
        let samples: Vec<_> = samples.iter().copied().step_by(thin).collect();
        if samples.len() < SAMPLES_MIN {
            return None;
        }
        let slope = slope(&samples)?;
        let middle = median(samples.iter().map(|(at, figure)| figure - slope.estimate * at).collect());
        let far = |(at, figure): &(f64, f64)| (figure - slope.estimate * at - middle).abs();
        let noise = SCALE * median(samples.iter().map(far).collect());
        Some(Self { per_second: slope.estimate, low: slope.low, high: slope.high, noise })
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

// REQ R8
#[test]
fn growth_is_told_from_jumps() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut of = |slope: f64| {
        let mut sample = |at: u32| {
            let jump = if rng.u32(..10) == 0 { 1e6 * rng.f64() } else { 100.0 * rng.f64() };
            (f64::from(at), 5e7 + slope * f64::from(at) + jump)
        };
        let samples: Vec<_> = (0..1_500).map(&mut sample).collect();
        Trend::of(&samples).unwrap()
    };
    let (flat, grows) = (of(0.0), of(3.0));
    assert!(flat.low < 0.0 && flat.high > 0.0 && flat.noise < 200.0, "{flat:?}");
    assert!(grows.low > 2.9 && grows.high < 3.1 && grows.noise < 200.0, "{grows:?}");
    assert_eq!(Trend::of(&[(0.0, 1.0), (1.0, 2.0)]), None);
}
