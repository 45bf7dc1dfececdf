//! What a result is held to.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// A goal of one result. Its `Display` is how tables and JSON state it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal<'a> {
    /// Ours divided by the peer's is at least this.
    RatioAtLeast(&'a str, f64),
    /// Ours divided by the peer's is at most this.
    RatioAtMost(&'a str, f64),
    /// Ours is less than this, in this unit.
    Below(f64, &'a str),
    /// Ours is this or more, in this unit.
    AtLeast(f64, &'a str),
}

impl<'a> Goal<'a> {
    /// The goal that a bench target states, of a figure in `unit`; nothing when it is none.
    pub(super) fn parse(goal: &'a Value, unit: &'a str) -> Option<Self> {
        let figure = |field: &str| goal[field].as_f64();
        let peer = goal["peer"].as_str();
        match (figure("below"), figure("at_least"), figure("ratio_at_most"), peer) {
            (Some(limit), None, None, None) => Some(Self::Below(limit, unit)),
            (None, Some(limit), None, None) => Some(Self::AtLeast(limit, unit)),
            (None, None, Some(ratio), Some(peer)) => Some(Self::RatioAtMost(peer, ratio)),
            _ => None,
        }
    }

    /// Whether the goal is met; nothing when its peer was not measured.
    pub(super) fn is_met(self, ours: f64, peers: &BTreeMap<&'a str, f64>) -> Option<bool> {
        match self {
            Self::RatioAtLeast(peer, ratio) => peers.get(peer).map(|theirs| ours >= ratio * theirs),
            Self::RatioAtMost(peer, ratio) => peers.get(peer).map(|theirs| ours <= ratio * theirs),
            Self::Below(limit, _) => Some(ours < limit),
            Self::AtLeast(limit, _) => Some(ours >= limit),
        }
    }
}

impl fmt::Display for Goal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(peer, ratio) => write!(f, "ratio to {peer} >= {ratio}"),
            Self::RatioAtMost(peer, ratio) => write!(f, "ratio to {peer} <= {ratio}"),
            Self::Below(limit, unit) => write!(f, "< {limit} {unit}"),
            Self::AtLeast(limit, unit) => write!(f, ">= {limit} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals_are_read_as_bench_targets_state_them() {
        let (below, least) = (json!({ "below": 10.0 }), json!({ "at_least": 1e5 }));
        let ratio = json!({ "ratio_at_most": 1.3, "peer": "raw" });
        assert_eq!(Goal::parse(&below, "ms"), Some(Goal::Below(10.0, "ms")));
        assert_eq!(Goal::parse(&least, "entries/s"), Some(Goal::AtLeast(1e5, "entries/s")));
        assert_eq!(Goal::parse(&ratio, "us"), Some(Goal::RatioAtMost("raw", 1.3)));
        let both = json!({ "below": 1.0, "at_least": 2.0 });
        for bad in [json!({}), json!({ "below": "x" }), json!({ "ratio_at_most": 1.3 }), both] {
            assert_eq!(Goal::parse(&bad, "us"), None, "{bad}");
        }
    }

    #[test]
    fn goals_are_judged_at_their_edges() {
        let peers = BTreeMap::from([("cat", 100.0)]);
        assert_eq!(Goal::RatioAtLeast("cat", 1.5).is_met(150.0, &peers), Some(true));
        assert_eq!(Goal::RatioAtLeast("cat", 1.5).is_met(149.0, &peers), Some(false));
        assert_eq!(Goal::RatioAtMost("cat", 0.25).is_met(25.0, &peers), Some(true));
        assert_eq!(Goal::RatioAtMost("cat", 0.25).is_met(26.0, &peers), Some(false));
        assert_eq!(Goal::Below(32.0, "MiB").is_met(32.0, &peers), Some(false));
        assert_eq!(Goal::Below(32.0, "MiB").is_met(31.9, &peers), Some(true));
        assert_eq!(Goal::AtLeast(5.0, "MB/s").is_met(5.0, &peers), Some(true));
        assert_eq!(Goal::AtLeast(5.0, "MB/s").is_met(4.9, &peers), Some(false));
    }

    #[test]
    fn a_goal_without_its_peer_is_not_judged() {
        assert_eq!(Goal::RatioAtLeast("s6-log", 4.0).is_met(1e9, &BTreeMap::new()), None);
    }

    #[test]
    fn goals_read_as_in_the_tables() {
        assert_eq!(Goal::RatioAtLeast("cat", 1.3).to_string(), "ratio to cat >= 1.3");
        assert_eq!(Goal::Below(32.0, "MiB").to_string(), "< 32 MiB");
        assert_eq!(Goal::AtLeast(1e5, "entries/s").to_string(), ">= 100000 entries/s");
    }
}
