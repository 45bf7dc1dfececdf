//! Who is woken, and what is counted of what is given up.

use super::*;
use evenkeel_log::{
    Batch, ChannelState, LogOptions, LogWriter, Resume, StreamId, StreamIds, sim::SimStorage,
};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// A hub of one channel, and the ids of its streams.
fn hub() -> (Arc<Hub>, ChannelIds) {
    let hub = Arc::new(Hub::new(&["x".to_owned()], 1 << 20).unwrap());
    let options = LogOptions { streams_max: 1, ..LogOptions::default() };
    let mut log =
        LogWriter::create(Arc::new(SimStorage::new()), options, Resume::default(), crate::now()).unwrap();
    let id = log.channel("x", evenkeel_log::OCTETS);
    (hub, ChannelIds { id, ids: log.stream_ids() })
}

struct ChannelIds {
    id: evenkeel_log::ChannelId,
    ids: StreamIds,
}

fn batch(hub: &Hub, stream: StreamId) -> Batch {
    let buffer = hub.buffer(0, &[Batch::bytes_for(5)], Refused::Wait).unwrap();
    let mut batch = Batch::new(stream, 1, buffer);
    assert!(batch.push(b"bytes", 1));
    batch
}

/// Whether `ek-capture` has been woken.
fn is_woken(hub: &Hub) -> bool {
    rustix::io::read(hub.capture_wakes(), &mut [0; 8]).is_ok()
}

// REQ W4, REQ R9
#[test]
fn what_follows_the_end_of_a_connection_wakes_the_log() {
    let (hub, of) = hub();
    let stream = of.ids.open(of.id).unwrap();
    let (told, hears) = channel();
    let theirs = hub.clone();
    let log = std::thread::spawn(move || {
        let mut batches = 0;
        while batches == 0 {
            let work = theirs.take(u64::MAX >> 1, true, false);
            batches += work.items.iter().filter(|(_, item)| matches!(item, Item::Batch(_))).count();
        }
        let _ = told.send(batches);
    });
    // Once it was seen, it holds the lock until it waits.
    while hub.seen_at_work_ns() == 0 {
        std::thread::yield_now();
    }
    hub.close_stream(0, stream);
    hub.accept(0, None, batch(&hub, stream));
    let heard = hears.recv_timeout(Duration::from_secs(10));
    hub.give_order(Order::Abandon);
    assert_eq!(heard, Ok(1), "the log sleeps on");
    log.join().unwrap();
}

// REQ R4, REQ R9
#[test]
fn memory_that_was_not_used_wakes_who_waits_for_some() {
    let (hub, _) = hub();
    hub.set_surplus(0);
    let all = hub.buffer(0, &[RESERVE_BYTES], Refused::Wait).unwrap();
    assert!(!hub.has_room(0, 1) && !is_woken(&hub));
    hub.return_buffer(0, all);
    assert!(is_woken(&hub));
    // Nobody waits any more.
    let some = hub.buffer(0, &[1], Refused::Wait).unwrap();
    hub.return_buffer(0, some);
    assert!(!is_woken(&hub));
}

// REQ W1, REQ R9
#[test]
fn a_connection_that_waits_for_an_id_is_woken_by_one() {
    use crate::framing::{Framer, Sink, Stream};
    let (hub, of) = hub();
    of.ids.open(of.id).unwrap();
    let waits = Stream::ToOpen { ids: of.ids.clone(), channel: of.id, peer: String::new(), opened_ns: 0 };
    let mut framer = Framer::new(waits, crate::config::Framing::Chunk, None);
    let mut lane =
        Lane { channel: 0, next_sequence: 1, last_time_ns: 0, on_full: crate::config::OnFull::Block };
    let sink = Sink { hub: &hub, refused: Refused::WakeCapture };
    assert_eq!(framer.take(&mut lane, sink, b"heard"), 0);
    assert!(!is_woken(&hub));
    hub.stream_closed();
    assert!(is_woken(&hub));
    assert_eq!(lane.next_sequence, 1);
}

// REQ W3
#[test]
fn what_is_given_up_is_not_committed_at_any_level() {
    for level in [Durability::Memory, Durability::Process, Durability::Disk] {
        let (hub, of) = hub();
        hub.set_before(0, &ChannelState::default(), (level, OnFull::Block));
        hub.accept(0, None, batch(&hub, of.ids.open(of.id).unwrap()));
        // Written to a segment that could not be synced, and then there was no room for another.
        let written = ChannelState { records: 1, bytes: 5, ..ChannelState::default() };
        hub.committed(&[(0, written)]);
        hub.given_up(0, 1, 5);
        let counts = hub.counts().remove(0);
        assert_eq!((counts.committed_records, counts.committed_bytes), (0, 0), "{level:?}");
        assert_eq!(counts.accepted_records, counts.committed_records + counts.dropped_records);
    }
}

// REQ W2
#[test]
fn no_memory_is_expected_of_a_log_that_is_gone() {
    let (hub, _) = hub();
    assert!(!hub.in_trouble());
    hub.update_log(|log| log.gone = true);
    assert!(hub.in_trouble());
}

/// A batch of one short record in a buffer of this length.
fn batch_in(hub: &Hub, channel: usize, stream: StreamId, bytes: usize) -> Batch {
    let mut batch = Batch::new(stream, 1, hub.buffer(channel, &[bytes], Refused::Wait).unwrap());
    assert!(batch.push(b"bytes", 1));
    batch
}

// REQ W4, REQ R9
#[test]
fn a_quiet_channel_has_its_turn_in_every_chunk() {
    let hub = Hub::new(&["flood", "quiet"].map(str::to_owned), 1 << 20).unwrap();
    let (_, of) = self::hub();
    let stream = of.ids.open(of.id).unwrap();
    for _ in 0..4 {
        hub.accept(0, None, batch_in(&hub, 0, stream, LARGE_BYTES));
    }
    hub.accept(1, None, batch_in(&hub, 1, stream, Batch::bytes_for(5)));
    let work = hub.take(0, true, false);
    let of_channel = |channel| work.items.iter().filter(|(at, _)| *at == channel).count();
    assert_eq!(of_channel(1), 1, "it waits for a flood");
    assert!((1..4).contains(&of_channel(0)), "a chunk is no longer than it was to be");
}

// REQ R3, REQ R4
#[test]
fn what_was_granted_beyond_the_budget_is_paid_back_and_no_more() {
    let hub = Hub::new(&["greedy", "entitled"].map(str::to_owned), 1 << 20).unwrap();
    hub.set_surplus(0);
    let all = hub.buffer(0, &[RESERVE_BYTES], Refused::Wait).unwrap();
    assert!(hub.buffer(0, &[100], Refused::Wait).is_none());
    let beyond = hub.buffer(0, &[100], Refused::Never).unwrap();
    // Whatever others owe, a reserve is its channel's.
    let reserve = hub.buffer(1, &[RESERVE_BYTES], Refused::Wait).unwrap();
    assert!(!hub.has_room(1, 1));
    hub.return_buffer(0, all);
    hub.return_buffer(0, beyond);
    hub.return_buffer(1, reserve);
    for channel in 0..2 {
        assert!(hub.has_room(channel, RESERVE_BYTES) && !hub.has_room(channel, RESERVE_BYTES + 1));
    }
    assert!(hub.counts().iter().all(|counts| counts.held_bytes == 0));
}

// REQ E4
#[test]
fn a_command_that_runs_again_is_not_about_to() {
    let (hub, _) = hub();
    let _reading = Reading::begin(hub.clone(), vec![0]);
    let condition = || hub.counts()[0].condition();
    hub.note_fault(0, Trouble::of_command("exit 1".to_owned()), true);
    assert_eq!(condition(), Condition::Restarting);
    // Another fault meanwhile changes nothing.
    hub.note_fault(0, Trouble::of_journal("its journal is slow".to_owned()), false);
    assert_eq!(condition(), Condition::Restarting);
    hub.note_restart(0);
    assert_eq!((condition(), hub.counts()[0].restarts), (Condition::Running, 1));
    hub.note_fault(0, Trouble::of_command("exit 1".to_owned()), true);
    hub.source_ended(0, Some(Trouble::of_command("given up".to_owned())));
    assert_eq!(condition(), Condition::Failed);
    assert!(!hub.counts()[0].restarting);
}
