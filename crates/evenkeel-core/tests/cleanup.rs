//! Random plans, failures, timings and forces, against a model of the world.
//!
//! The world does what each step's fate says, keeps a diary, and checks every
//! action as it comes. At the end the verdicts have to agree with the diary.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{World, plan};
use evenkeel_core::cleanup::{Ending, Phase, Verdict};
use proptest::prelude::*;

fn cases() -> u32 {
    std::env::var("EVENKEEL_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    // REQ C3, REQ C4, REQ C5, REQ C7, REQ C9
    #[test]
    fn a_run_keeps_its_invariants_and_its_verdicts_tell_what_happened(
        seed in any::<u64>(),
        steps in 0usize..40,
        hostility in 0u32..100,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = plan(&mut rng, steps);
        let mut world = World::new(plan, rng, hostility);
        world.run_to_the_end();
        world.check_verdicts();
    }

    // REQ C2, REQ C5
    #[test]
    fn whatever_hangs_flushing_and_closing_get_their_time(
        seed in any::<u64>(),
        steps in 1usize..60,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = plan(&mut rng, steps);
        let mut world = World::new(plan, rng, 100).where_everything_hangs();
        world.run_to_the_end();
        world.check_verdicts();
        let run = &world.run;
        prop_assert!(matches!(run.ending(), Some(Ending::Completed | Ending::OutOfTime)));
        for id in run.plan().order() {
            let spec = run.plan().step(*id);
            prop_assert!(run.verdict(*id) != Some(Verdict::Abandoned), "{} was not named in time", spec.name);
            if matches!(spec.phase, Phase::FlushingStorage | Phase::ClosingLogs) {
                let skipped = run.verdict(*id) == Some(Verdict::SkippedBecause);
                let why = run.detail(*id).unwrap_or_default();
                prop_assert!(!skipped || why.starts_with("it needs") || why.starts_with("journal"), "{}: {}", spec.name, why);
            }
        }
    }
}
