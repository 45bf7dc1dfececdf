//! Planning.

use crate::OURS;
use crate::graph;
#[cfg(feature = "peers")]
use crate::peers::petgraph;
use evenkeel_bench::{Figure, Goal, Race, Suite, mean_ns};
use evenkeel_core::cleanup::{Plan, PlanOptions};

/// Steps that are planned in a turn, at least: small plans are made many times.
const TURN_STEPS: usize = 30_000;

pub(crate) fn measure(suite: &mut Suite) {
    for count in [100, 1_000, 10_000] {
        let steps = graph::steps(count);
        let plans = TURN_STEPS / count;
        let race = Race::new().with(OURS, || {
            let plan = |steps| Plan::new(steps, PlanOptions::default()).unwrap();
            mean_ns(plans, |_| steps.clone(), plan) / 1e6
        });
        #[cfg(feature = "peers")]
        let graph = petgraph::graph(&steps);
        #[cfg(feature = "peers")]
        let race = race
            .with("petgraph", || mean_ns(plans, |_| (), |()| petgraph::order(&petgraph::graph(&steps))) / 1e6)
            .with("toposort alone", || mean_ns(plans, |_| (), |()| petgraph::order(&graph)) / 1e6);
        let figure = Figure::of(format!("plan/{count}"), "ms", &race.run(), OURS, 0.5);
        suite.add(if count == 10_000 { figure.goal(Goal::Below(10.0)) } else { figure });
    }
}
