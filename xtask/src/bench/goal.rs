//! What a result is held to.

use std::collections::BTreeMap;
use std::fmt;

/// A goal of one result. Its `Display` is how tables and JSON state it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// Ours divided by the peer's is at least this.
    RatioAtLeast(&'static str, f64),
    /// Ours divided by the peer's is at most this.
    RatioAtMost(&'static str, f64),
    /// Ours is less than this, in this unit.
    Below(f64, &'static str),
}

impl Goal {
    /// Whether the goal is met; nothing when its peer was not measured.
    pub(super) fn is_met(self, ours: f64, peers: &BTreeMap<&'static str, f64>) -> Option<bool> {
        match self {
            Self::RatioAtLeast(peer, ratio) => peers.get(peer).map(|theirs| ours >= ratio * theirs),
            Self::RatioAtMost(peer, ratio) => peers.get(peer).map(|theirs| ours <= ratio * theirs),
            Self::Below(limit, _) => Some(ours < limit),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(peer, ratio) => write!(f, "ratio to {peer} >= {ratio}"),
            Self::RatioAtMost(peer, ratio) => write!(f, "ratio to {peer} <= {ratio}"),
            Self::Below(limit, unit) => write!(f, "< {limit} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_at_their_edges() {
        let peers = BTreeMap::from([("cat", 100.0)]);
        assert_eq!(Goal::RatioAtLeast("cat", 1.5).is_met(150.0, &peers), Some(true));
        assert_eq!(Goal::RatioAtLeast("cat", 1.5).is_met(149.0, &peers), Some(false));
        assert_eq!(Goal::RatioAtMost("cat", 0.25).is_met(25.0, &peers), Some(true));
        assert_eq!(Goal::RatioAtMost("cat", 0.25).is_met(26.0, &peers), Some(false));
        assert_eq!(Goal::Below(32.0, "MiB").is_met(32.0, &peers), Some(false));
        assert_eq!(Goal::Below(32.0, "MiB").is_met(31.9, &peers), Some(true));
    }

    #[test]
    fn a_goal_without_its_peer_is_not_judged() {
        assert_eq!(Goal::RatioAtLeast("s6-log", 4.0).is_met(1e9, &BTreeMap::new()), None);
    }

    #[test]
    fn goals_read_as_in_the_tables() {
        assert_eq!(Goal::RatioAtLeast("cat", 1.3).to_string(), "ratio to cat >= 1.3");
        assert_eq!(Goal::Below(32.0, "MiB").to_string(), "< 32 MiB");
    }
}
