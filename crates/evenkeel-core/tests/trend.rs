//! Slopes and alerts, beside naive ones.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_core::trend::{
    FragmentationWatch, GrowthAlert, GrowthLimits, GrowthWatch, LevelChange, Levels, USAGE, Window, slope,
};
use fastrand::Rng;

/// Noise that is mostly small, with a wild one now and then.
fn noise(rng: &mut Rng, size: f64) -> f64 {
    let small = (0..6).map(|_| rng.f64() - 0.5).sum::<f64>() * size;
    if rng.u8(..12) == 0 { small * 60.0 } else { small }
}

/// The median of all slopes, as one would write it down: every pair, sorted, the middle.
fn naive_slope(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = (0..points.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let rise = |(a, b): (usize, usize)| (points[a].1 - points[b].1) / (points[a].0 - points[b].0);
    let mut all: Vec<f64> = pairs.filter(|(a, b)| points[*a].0 != points[*b].0).map(rise).collect();
    all.sort_by(f64::total_cmp);
    let half = all.len() / 2;
    match all.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(all[half - 1], all[half])),
        _ => Some(all[half]),
    }
}

// REQ M3, REQ R8
#[test]
fn a_slope_is_the_median_of_all() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let points: Vec<_> = (0..rng.usize(3..60))
            .map(|at| (f64::from((at as u32 + rng.u32(..3)) / 2), noise(&mut rng, 5.0)))
            .collect();
        let found = slope(&points);
        assert_eq!(found.map(|slope| slope.estimate), naive_slope(&points), "seed {seed}");
        let found = found.unwrap();
        assert!(found.low <= found.estimate && found.estimate <= found.high, "seed {seed}: {found:?}");
    }
    assert_eq!(slope(&[(0.0, 1.0), (1.0, 2.0)]), None);
    assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
}

// REQ M3, REQ R8: of a hundred bounds about 95 hold what they are about, and wild points do not bend them.
#[test]
fn the_bounds_hold_the_slope_as_often_as_they_say() {
    let rounds = 1_000;
    let mut held = 0;
    for seed in 0..rounds {
        let mut rng = Rng::with_seed(seed);
        let real = rng.f64() * 40.0 - 20.0;
        let points: Vec<_> = (0..60).map(f64::from).map(|t| (t, real * t + noise(&mut rng, 30.0))).collect();
        let found = slope(&points).unwrap();
        held += usize::from(found.low <= real && real <= found.high);
        assert!((found.estimate - real).abs() < 3.0, "seed {seed}: {found:?} of {real}");
    }
    assert!((930..=985).contains(&held), "{held} of {rounds}");
}

// REQ M3
#[test]
fn a_window_is_bounded_and_keeps_the_last() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let (most, apart) = (rng.usize(3..20), rng.f64() * 3.0);
        let mut window = Window::new(most, apart);
        let (mut kept, mut now) = (Vec::<(f64, f64)>::new(), 0.0);
        for _ in 0..200 {
            now += rng.f64() * 2.0 - 0.3;
            let value = if rng.u8(..20) == 0 { f64::NAN } else { rng.f64() };
            let wanted =
                !value.is_nan() && kept.last().is_none_or(|(last, _)| now - last >= apart && now > *last);
            assert_eq!(window.push(now, value), wanted, "seed {seed}");
            if wanted {
                kept.push((now, value));
            }
            let last = &kept[kept.len().saturating_sub(most)..];
            assert_eq!(window.len(), last.len());
            assert_eq!(
                window.slope().map(|slope| slope.estimate),
                (last.len() > 2).then(|| naive_slope(last)).flatten()
            );
        }
    }
}

fn watched(
    limits: GrowthLimits,
    resident: impl Fn(u32, &mut Rng) -> f64,
    seconds: u32,
    seed: u64,
) -> (GrowthWatch, Vec<(u32, GrowthAlert)>) {
    let (mut watch, mut rng) = (GrowthWatch::new(limits), Rng::with_seed(seed));
    let fed = (0..seconds).map(|second| (second, resident(second, &mut rng).max(0.0) as u64));
    let alerts =
        fed.filter_map(|(second, bytes)| Some((second, watch.feed(f64::from(second), bytes)?))).collect();
    (watch, alerts)
}

/// Resident bytes of a program that fills a pool at first, and then is noisy.
fn base(second: u32, rng: &mut Rng) -> f64 {
    let filled = 50e6 * (1.0 - (-f64::from(second) / 60.0).exp());
    (filled + noise(rng, 200_000.0)) / 4096.0
}

// REQ R8: nothing is said before an hour is covered after warm-up; what does not grow raises no alert however it is filled first;
// what grows by 3 MB an hour does.
#[test]
fn growth_is_told_when_it_is_sure_and_not_before() {
    let pages = |pages: f64| pages.round() * 4096.0;
    for seed in 0..8 {
        let limits = GrowthLimits::default();
        let (early, alerts) = watched(limits, |s, rng| pages(base(s, rng)) + f64::from(s) * 1e4, 4_100, seed);
        assert_eq!((early.growth(), alerts.len()), (None, 0));
        let (flat, alerts) = watched(limits, |s, rng| pages(base(s, rng)), 12_000, seed);
        let growth = flat.growth().unwrap();
        assert!(
            alerts.is_empty() && growth.low <= 0.0 && 0.0 <= growth.high + 2e5,
            "seed {seed}: {growth:?} {alerts:?}"
        );
        let (leak, alerts) =
            watched(limits, |s, rng| pages(base(s, rng)) + f64::from(s) * 3e6 / 3600.0, 12_000, seed);
        assert!(
            matches!(alerts.as_slice(), [(4_200.., GrowthAlert::Began(_))]),
            "seed {seed}: {alerts:?} {leak:?}"
        );
        assert!((leak.growth().unwrap().bytes_an_hour - 3e6).abs() < 5e5, "seed {seed}: {leak:?}");
    }
}

// REQ R8, REQ M2: an alert ends once, when growth has gone, and does not flutter where it is near the limit.
#[test]
fn an_alert_of_growth_ends_and_does_not_flutter() {
    let limits = GrowthLimits { warm_up_seconds: 10.0, covered_seconds: 600.0, ..GrowthLimits::default() };
    let grows_until =
        |until: u32| move |s: u32, rng: &mut Rng| 1e8 + f64::from(s.min(until)) * 1e4 + noise(rng, 1e4);
    let (_, alerts) = watched(limits, grows_until(1_500), 4_000, 1);
    let kinds: Vec<_> = alerts.iter().map(|(_, alert)| matches!(alert, GrowthAlert::Began(_))).collect();
    assert_eq!(kinds, [true, false], "{alerts:?}");
    let near = |s: u32, rng: &mut Rng| 1e8 + f64::from(s) * 1.03e6 / 3600.0 + noise(rng, 2e3);
    let (_, alerts) = watched(limits, near, 40_000, 2);
    assert!(alerts.len() <= 1, "{alerts:?}");
}

/// For each limit on its own whether the share is above it.
fn naive_levels(limits: &[f64], margin: f64, above: &mut [bool], share: f64) -> usize {
    for (limit, above) in limits.iter().zip(above.iter_mut()) {
        *above = share >= *limit || *above && share >= *limit - margin;
    }
    above.iter().filter(|above| **above).count()
}

// REQ M2, REQ R8
#[test]
fn levels_are_what_each_limit_alone_would_say() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let limits =
            if rng.bool() { USAGE.to_vec() } else { (0..rng.usize(1..5)).map(|_| rng.f64()).collect() };
        let margin = rng.f64() * 0.3;
        let (mut levels, mut above) = (Levels::new(&limits, margin), vec![false; limits.len()]);
        let mut share: f64 = 0.5;
        for _ in 0..300 {
            share = (share + rng.f64() * 0.3 - 0.15).clamp(0.0, 1.2);
            let from = levels.level();
            let to = naive_levels(&limits, margin, &mut above, share);
            assert_eq!(
                levels.feed(share),
                (from != to).then_some(LevelChange { from, to }),
                "seed {seed} at {share}"
            );
        }
    }
}

// REQ R8
#[test]
fn fragmentation_is_told_when_it_lasts_and_of_enough() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut watch = FragmentationWatch::default();
        let (mut is_alert, mut row) = (false, 0);
        for _ in 0..300 {
            let held = if rng.u8(..8) == 0 { rng.u64(..2 << 20) } else { 100 << 20 };
            let asked = (held as f64 * (0.93 + rng.f64() * 0.06)) as u64;
            let wasted = 1.0 - asked as f64 / held.max(1) as f64;
            // An alert wants three in a row that say otherwise than now; what is held little says nothing.
            let says = held >= 1 << 20 && if is_alert { wasted < 0.04 } else { wasted >= 0.05 };
            row = if says { row + 1 } else { 0 };
            let wanted = (row == 3).then_some(!is_alert);
            if row == 3 {
                (is_alert, row) = (!is_alert, 0);
            }
            assert_eq!(watch.feed(asked, held), wanted, "seed {seed}: {wasted}");
            assert_eq!(watch.is_alert(), is_alert);
        }
    }
}

// REQ R8: what is no time is no beginning: the warm-up is as long as it is.
#[test]
fn what_is_no_time_begins_nothing() {
    let mut watch = GrowthWatch::new(GrowthLimits::default());
    for (at, seconds) in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY].into_iter().enumerate() {
        assert_eq!(watch.feed(seconds, at as u64), None);
    }
    // It grows while it warms up, and stands still for as long as it takes to be sure.
    let limits = GrowthLimits::default();
    let (warm_up, end) = (limits.warm_up_seconds, limits.warm_up_seconds + 3.0 * limits.covered_seconds);
    for second in 0..end as u64 {
        let bytes = (100 << 20) + (second as f64).min(warm_up) as u64 * (1 << 20);
        assert_eq!(watch.feed(second as f64, bytes), None, "at {second}");
    }
}
