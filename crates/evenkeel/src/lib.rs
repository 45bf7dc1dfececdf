//! Keeps long-running, many-channel services stable, and stops them with proof.

pub mod journal;
