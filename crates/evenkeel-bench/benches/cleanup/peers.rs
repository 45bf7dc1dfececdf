//! What others do of the same.

pub(crate) mod petgraph;
pub(crate) mod stop;
