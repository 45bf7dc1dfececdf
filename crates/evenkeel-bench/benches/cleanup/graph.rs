//! The steps that are planned: the same in every run.

use evenkeel_core::cleanup::{Phase, StepSpec};

/// A step waits for some of so many steps before it.
const REACH: usize = 50;

/// So many verified steps, a fifth of them in each phase, each with up to three dependencies.
pub(crate) fn steps(count: usize) -> Vec<StepSpec> {
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let name = |at: usize| format!("channel-{}/step-{at}", at % 64);
    (0..count)
        .map(|at| {
            let mut spec = StepSpec::new(name(at), Phase::ALL[at * 5 / count]).verified().idempotent();
            for _ in 0..random.usize(0..=at.min(3)) {
                spec = spec.needs(name(random.usize(at.saturating_sub(REACH)..at)));
            }
            spec
        })
        .collect()
}
