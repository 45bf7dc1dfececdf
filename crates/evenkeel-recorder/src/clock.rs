//! The two clocks, at the edge.

/// Both clocks now.
pub fn now() -> evenkeel_log::Stamp {
    evenkeel::clock::stamp()
}
