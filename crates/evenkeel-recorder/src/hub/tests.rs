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

// REQ R3, REQ R8
#[test]
fn single_bytes_take_no_more_memory_than_the_budget_has() {
    let (hub, of) = hub();
    let stream = of.ids.open(of.id).unwrap();
    let mut batches = 0;
    while let Some(memory) = hub.buffer(0, &[Batch::bytes_for(1)], Refused::Wait) {
        let mut batch = Batch::new(stream, batches as u64 + 1, memory);
        assert!(batch.push(b"x", 1));
        hub.accept(0, None, batch);
        batches += 1;
    }
    // Of each there are its bytes, an entry in the queue, which may have grown to twice its length, and what an allocator adds.
    let each = Batch::bytes_for(1) + 2 * size_of::<Item>() + 16;
    assert!(batches > 1000 && batches * each <= budget_bytes(1) * 5 / 4, "{batches} of {each} bytes");
    // All of it comes back.
    for (_, item) in hub.take(0, true, false).items {
        if let Item::Batch(batch) = item {
            hub.return_buffer(0, batch.into_memory());
        }
    }
    let counts = hub.counts().remove(0);
    assert_eq!(counts.held_bytes, hub.queued_memory(0));
}

// REQ T9, REQ R9
#[test]
fn what_the_log_may_not_have_is_no_work_for_it() {
    let (hub, of) = hub();
    hub.set_before(0, &ChannelState::default(), (Durability::Disk, OnFull::DropOldest));
    let stream = of.ids.open(of.id).unwrap();
    let mut with_log = Vec::new();
    while hub.waiting() != Waiting::NotYet {
        hub.accept(0, None, batch_in(&hub, 0, stream, LARGE_BYTES));
        with_log.extend(hub.take(0, true, false).items);
    }
    assert!(hub.take(0, true, false).items.is_empty());
    let (_, Item::Batch(durable)) = with_log.remove(0) else { panic!("no batch") };
    hub.return_buffer(0, durable.into_memory());
    assert_eq!(hub.waiting(), Waiting::Something);
    assert_eq!(hub.take(0, true, false).items.len(), 1);
    assert_eq!(hub.waiting(), Waiting::Nothing);
}

// REQ R9
#[test]
fn what_is_dropped_while_nothing_becomes_durable_is_one_gap() {
    let (hub, of) = hub();
    hub.set_before(0, &ChannelState::default(), (Durability::Disk, OnFull::DropNewest));
    let mut lane =
        Lane { channel: 0, next_sequence: 2, last_time_ns: 1, on_full: crate::config::OnFull::DropNewest };
    hub.accept(0, None, batch(&hub, of.ids.open(of.id).unwrap()));
    let mut with_log = hub.take(0, true, false).items;
    for _ in 0..3 {
        hub.drop_newest(0, lane.drop(2, 10));
        assert!(hub.take(0, true, false).items.is_empty(), "a gap for every look");
    }
    assert_eq!(hub.waiting(), Waiting::NotYet);
    let Some((_, Item::Batch(durable))) = with_log.pop() else { panic!("no batch") };
    hub.return_buffer(0, durable.into_memory());
    let [(0, Item::Dropped(gap))] = hub.take(0, true, false).items[..] else { panic!("no gap") };
    assert_eq!((gap.first_sequence, gap.records, gap.bytes), (2, 6, 30));
}
