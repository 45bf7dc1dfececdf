//! Declaring what is not there.

use super::{States, is_users};
use crate::batch::Batch;
use crate::gap::{GAP_SCHEMA, GAPS_CHANNEL, Gap, GapReason};
use crate::scan::Scan;
use crate::segment::{Segment, StreamDefinition};
use crate::writer::{Stamp, StreamId};
use std::io;

/// Gaps of the channels that were open at the last commit.
pub(super) fn after_crash(scan: &Scan, stamp: Stamp) -> Vec<Gap> {
    if scan.run_end { Vec::new() } else { open_channels(&scan.states, scan.last_wall_ns, stamp) }
}

pub(super) fn open_channels(states: &States, from: u64, stamp: Stamp) -> Vec<Gap> {
    let open = states.iter().filter(|(name, state)| is_users(name) && !state.ended);
    let gap = |(name, state): (&String, &crate::ChannelState)| Gap {
        channel: name.clone(),
        first_sequence: state.last_sequence + 1,
        last_sequence: None,
        records: None,
        bytes: None,
        reason: GapReason::Crash,
        from,
        to: stamp.wall_ns,
    };
    open.map(gap).collect()
}

/// Appends gaps as a chunk, and brings the states up to date.
pub(super) fn write(
    segment: &mut Segment,
    gaps: &[Gap],
    states: &mut States,
    stamp: Stamp,
) -> io::Result<()> {
    let state = states.entry(GAPS_CHANNEL.to_owned()).or_default();
    state.streams += 1;
    let definition = StreamDefinition {
        topic: format!("/{GAPS_CHANNEL}"),
        encoding: "json".to_owned(),
        schema: Some(&GAP_SCHEMA),
        metadata: vec![
            ("stream".to_owned(), state.streams.to_string()),
            ("opened".to_owned(), stamp.wall_ns.to_string()),
        ],
    };
    let id = segment.free_mcap_id().ok_or_else(|| io::Error::other("no MCAP channel id is free"))?;
    let payloads: Vec<Vec<u8>> =
        gaps.iter().map(|gap| serde_json::to_vec(gap).expect("invariant: a gap is plain JSON")).collect();
    let bytes = payloads.iter().map(|p| Batch::bytes_for(p.len())).sum();
    let mut batch = Batch::new(StreamId::detached(id), state.last_sequence + 1, vec![0; bytes]);
    for payload in &payloads {
        let fits = batch.push(payload, stamp.wall_ns);
        assert!(fits, "invariant: the buffer was made to fit");
    }
    let batch = batch.seal();
    segment.chunk(&[&batch], &|_| &definition)?;
    state.last_sequence = batch.last_sequence();
    state.records += batch.records();
    state.bytes += batch.payload_bytes();
    state.ended = true;
    for gap in gaps {
        let state = states.entry(gap.channel.clone()).or_default();
        state.last_sequence = state.last_sequence.max(gap.last_taken());
        state.ended |= gap.reason == GapReason::Crash;
    }
    Ok(())
}
