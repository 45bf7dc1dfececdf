//! Growth, of samples that jump: the median of the slopes between all pairs of them (Theil 1950, Sen 1968).

/// Samples that are looked at; of more, every so manyth.
const SAMPLES_MAX: usize = 1_000;
const SAMPLES_MIN: usize = 8;
/// Of the normal distribution: 95 % lie within so many deviations.
const DEVIATIONS: f64 = 1.96;
/// From the median distance to the standard deviation, of what is normally distributed.
const SCALE: f64 = 1.4826;

/// A line through samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    pub(crate) per_second: f64,
    /// Where it lies with 95 % certainty, by the variance of Kendall's statistic.
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
        let count = samples.len();
        if count < SAMPLES_MIN {
            return None;
        }
        let mut slopes = Vec::with_capacity(count * (count - 1) / 2);
        for (at, (from, before)) in samples.iter().enumerate() {
            slopes.extend(samples[at + 1..].iter().map(|(to, after)| (after - before) / (to - from)));
        }
        slopes.sort_by(f64::total_cmp);
        let (pairs, count) = (slopes.len() as f64, count as f64);
        let within = DEVIATIONS * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let at = |place: f64| slopes[(place.max(0.0) as usize).min(slopes.len() - 1)];
        let per_second = at(pairs / 2.0);
        let middle = median(samples.iter().map(|(at, figure)| figure - per_second * at).collect());
        let far = |(at, figure): &(f64, f64)| (figure - per_second * at - middle).abs();
        let noise = SCALE * median(samples.iter().map(far).collect());
        Some(Self { per_second, low: at((pairs - within) / 2.0), high: at((pairs + within) / 2.0), noise })
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
