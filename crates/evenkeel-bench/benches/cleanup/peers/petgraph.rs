//! The order of the same steps, by petgraph.

use evenkeel_core::cleanup::StepSpec;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::HashMap;

/// The steps as a graph, dependencies found by name.
pub(crate) fn graph(steps: &[StepSpec]) -> DiGraph<(), ()> {
    let mut graph = DiGraph::with_capacity(steps.len(), 2 * steps.len());
    let mut places = HashMap::with_capacity(steps.len());
    for step in steps {
        places.insert(step.name.as_str(), graph.add_node(()));
    }
    for step in steps {
        for dependency in &step.dependencies {
            graph.add_edge(places[dependency.name.as_str()], places[step.name.as_str()], ());
        }
    }
    graph
}

pub(crate) fn order(graph: &DiGraph<(), ()>) -> Vec<NodeIndex> {
    toposort(graph, None).expect("the steps have no cycle")
}
