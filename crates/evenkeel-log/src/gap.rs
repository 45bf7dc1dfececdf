//! Gaps: numbered ranges that are not in the recording, said in the recording.

use crate::segment::Schema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Name of the channel that gaps are written to; its topic is `/evenkeel/gaps`.
pub const GAPS_CHANNEL: &str = "evenkeel/gaps";

/// Why a range is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GapReason {
    /// The recorder died; what was read after the last commit, if anything, is lost.
    Crash,
    /// The channel's queue was full and its policy drops the newest.
    DropNewest,
    /// The channel's queue was full and its policy drops the oldest.
    DropOldest,
    /// The disk was full, and stayed full through the stop.
    DiskFull,
    /// Acknowledged bytes were found damaged. This is loss, not a declared drop.
    Damage,
    /// The stop was forced, or ran out of time, before these were written.
    Forced,
}

impl fmt::Display for GapReason {
    /// The word that stands in the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A gap record, as it stands on `/evenkeel/gaps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Name of the channel.
    pub channel: String,
    /// First sequence that is missing.
    pub first_sequence: u64,
    /// Last sequence that is missing; `None` when nobody knows.
    pub last_sequence: Option<u64>,
    /// Records missing.
    pub records: Option<u64>,
    /// Payload bytes missing.
    pub bytes: Option<u64>,
    /// Why.
    pub reason: GapReason,
    /// Unix time in nanoseconds of the last byte known to be there.
    pub from: u64,
    /// Unix time in nanoseconds from which on the channel is whole again.
    pub to: u64,
}

impl Gap {
    /// The last sequence number that the gap takes: numbering goes on after it.
    pub fn last_taken(&self) -> u64 {
        self.last_sequence.unwrap_or(self.first_sequence.saturating_sub(1))
    }

    /// Takes in the gap that follows without a hole.
    pub(crate) fn extend(&mut self, next: &Self) {
        self.last_sequence = next.last_sequence;
        self.records = self.records.zip(next.records).map(|(a, b)| a + b);
        self.bytes = self.bytes.zip(next.bytes).map(|(a, b)| a + b);
        self.to = next.to;
    }

    /// Whether acknowledged data is gone, which no declaration makes good.
    pub fn is_loss(&self) -> bool {
        self.reason == GapReason::Damage
    }
}

pub(crate) static GAP_SCHEMA: Schema = Schema {
    id: 1,
    name: "evenkeel.Gap",
    json: r#"{"title":"evenkeel.Gap","type":"object","properties":{"channel":{"type":"string"},"first_sequence":{"type":"integer"},"last_sequence":{"type":["integer","null"]},"records":{"type":["integer","null"]},"bytes":{"type":["integer","null"]},"reason":{"type":"string"},"from":{"type":"integer"},"to":{"type":"integer"}},"required":["channel","first_sequence","last_sequence","records","bytes","reason","from","to"]}"#,
};
