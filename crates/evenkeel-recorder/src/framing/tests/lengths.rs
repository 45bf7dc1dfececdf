//! Messages with their length before them: any of them, cut into any reads.

use super::*;
use crate::config::LENGTH_BYTES_MAX;
use std::collections::BTreeSet;

fn message(bytes: usize, fill: u8) -> Vec<u8> {
    let mut message = (bytes as u32).to_be_bytes().to_vec();
    message.resize(4 + bytes, fill);
    message
}

/// Some messages, and where each of them ends.
fn messages(rng: &mut Rng) -> (Vec<u8>, BTreeSet<usize>) {
    let (mut all, mut ends) = (Vec::new(), BTreeSet::from([0]));
    for n in 0..rng.usize(1..150) {
        let bytes = match rng.u8(0..20) {
            0 => rng.usize(60_000..300_000),
            1 => PAYLOAD_BYTES_MAX * rng.usize(1..3) - rng.usize(0..8),
            2..5 => 0,
            _ => rng.usize(0..300),
        };
        all.extend(message(bytes, n as u8));
        ends.insert(all.len());
    }
    (all, ends)
}

/// A message has a record, and one more for every 64 KiB before its last byte.
fn expected_records(ends: &BTreeSet<usize>) -> u64 {
    let lengths = ends.iter().zip(ends.iter().skip(1)).map(|(from, to)| to - from);
    lengths.map(|bytes| bytes.div_ceil(PAYLOAD_BYTES_MAX) as u64).sum()
}

fn said(bench: &Bench) -> Option<String> {
    bench.hub.counts()[0].last_fault.clone()
}

// REQ W1, REQ R9
#[test]
fn each_message_is_one_with_its_length_however_it_is_read() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let (all, ends) = messages(&mut rng);
        let mut bench = bench(Framing::LengthU32be, OnFull::Block);
        bench.hub.set_surplus(rng.usize(0..200_000));
        bench.feed(&all, &mut rng);
        assert!(bench.stored() == all, "seed {seed}");
        assert_eq!(bench.lines.iter().sum::<u64>(), expected_records(&ends), "seed {seed}");
        let state = bench.writer.state(bench.id);
        assert_eq!(state.position.as_ref().map(|p| p.offset), Some(all.len() as u64), "seed {seed}");
        assert_eq!((said(&bench), bench.hub.counts()[0].held_bytes), (None, 0), "seed {seed}");
    }
}

// REQ W1
#[test]
fn reads_may_end_at_any_byte() {
    let all = [message(3, b'a'), message(0, b'b'), message(9, b'c'), message(1, b'd')].concat();
    fn sink(hub: &Hub) -> Sink<'_> {
        Sink { hub, refused: Refused::Wait }
    }
    for cut in 0..=all.len() {
        let mut bench = bench(Framing::LengthU32be, OnFull::Block);
        for read in [&all[..cut], &all[cut..]] {
            assert_eq!(bench.framer.take(&mut bench.lane, sink(&bench.hub), read), read.len());
            bench.framer.publish(&bench.lane, &bench.hub);
        }
        bench.drain();
        assert_eq!((bench.stored(), bench.lines.iter().sum::<u64>()), (all.clone(), 4), "cut at {cut}");
    }
    let mut bench = bench(Framing::LengthU32be, OnFull::Block);
    for byte in &all {
        bench.framer.take(&mut bench.lane, sink(&bench.hub), std::slice::from_ref(byte));
    }
    bench.framer.publish(&bench.lane, &bench.hub);
    bench.drain();
    assert_eq!((bench.stored(), bench.lines.iter().sum::<u64>()), (all, 4));
}

// REQ R9, REQ W4
#[test]
fn a_message_is_dropped_whole_or_not_at_all() {
    for on_full in [OnFull::DropNewest, OnFull::DropOldest] {
        dropped_whole(on_full);
    }
}

fn dropped_whole(on_full: OnFull) {
    let (mut dropped_in_all, mut long) = (0, 0);
    for seed in 0..120 {
        let mut rng = Rng::with_seed(seed);
        let (all, ends) = messages(&mut rng);
        let mut bench = bench(Framing::LengthU32be, on_full);
        bench.hub.set_surplus(rng.usize(0..40_000));
        bench.feed(&all, &mut rng);
        let (mut at, mut sequence, mut expected, mut before) = (0, 1, Vec::new(), false);
        for (records, bytes, dropped) in &bench.out {
            if *dropped != before {
                assert!(ends.contains(&at), "seed {seed}: a message is cut at {at}");
            }
            let piece = &all[at..at + *bytes as usize];
            if *dropped {
                dropped_in_all += 1;
                long += u64::from(piece.len() > 2 * PAYLOAD_BYTES_MAX);
            } else {
                expected.extend_from_slice(piece);
            }
            (at, sequence, before) = (at + piece.len(), sequence + records, *dropped);
        }
        assert_eq!((at, sequence), (all.len(), bench.lane.next_sequence), "seed {seed}");
        assert!(bench.stored() == expected, "seed {seed}");
        let counts = bench.hub.counts().remove(0);
        assert!(counts.is_settled() && counts.held_bytes == 0, "seed {seed}: {counts:?}");
        assert_eq!(counts.accepted_bytes, all.len() as u64);
    }
    assert!(dropped_in_all > 100 && long > 5, "{dropped_in_all}, {long} long: too few to mean anything");
}

// REQ W1, REQ E1
#[test]
fn out_of_step_nothing_is_lost_and_it_is_told_where() {
    for seed in 0..30 {
        let mut rng = Rng::with_seed(seed);
        let (mut all, _) = messages(&mut rng);
        let at = all.len();
        all.extend((LENGTH_BYTES_MAX + 1).to_be_bytes());
        let mut garbage = vec![0; rng.usize(0..200_000)];
        rng.fill(&mut garbage);
        all.extend(garbage);
        let mut bench = bench(Framing::LengthU32be, OnFull::Block);
        bench.feed(&all, &mut rng);
        assert!(bench.stored() == all, "seed {seed}");
        let told = said(&bench).unwrap_or_default();
        assert!(told.contains(&format!("the message at byte {at} is said to have 67108865")), "{told}");
    }
    // The longest that is allowed is one; what ends within it is told.
    let mut bench = bench(Framing::LengthU32be, OnFull::Block);
    let all = [&LENGTH_BYTES_MAX.to_be_bytes()[..], &[7; 100_000]].concat();
    bench.feed(&all, &mut Rng::with_seed(1));
    assert!(bench.stored() == all);
    assert_eq!(said(&bench).as_deref(), Some("its stream ends within a message, at byte 100004"));
}

// REQ W1, REQ E1
#[test]
fn a_stream_that_ends_within_a_message_is_told_and_kept() {
    let all = [message(3, b'a'), message(5, b'b')].concat();
    for end in 0..=all.len() {
        let mut bench = bench(Framing::LengthU32be, OnFull::Block);
        bench.feed(&all[..end], &mut Rng::with_seed(end as u64));
        assert_eq!(bench.stored(), &all[..end]);
        let is_whole = [0, 7, 16].contains(&end);
        let told = (!is_whole).then(|| format!("its stream ends within a message, at byte {end}"));
        assert_eq!(said(&bench), told, "{end}");
    }
}

// REQ W3
#[test]
fn a_file_is_taken_up_wherever_a_record_ends() {
    let mut rng = Rng::with_seed(5);
    for round in 0..10 {
        let (mut all, mut ends) = messages(&mut rng);
        if round % 3 == 2 {
            all.extend([0xff; 9]);
        } else {
            all.extend(message(200_000, 7));
            ends.insert(all.len());
        }
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &all).unwrap();
        let mut whole = bench(Framing::LengthU32be, OnFull::Block);
        whole.feed(&all, &mut rng);
        let mut at = 0;
        for from in ends.iter().flat_map(|end| [*end, end + PAYLOAD_BYTES_MAX]) {
            // 64 KiB into a message a record ends only if the message goes on.
            let next = ends.range(from..).next().copied().unwrap_or(all.len());
            let begin = ends.range(..=from).next_back().copied().unwrap_or(0);
            if from > all.len() || (from != begin && (from - begin != PAYLOAD_BYTES_MAX || next < from)) {
                continue;
            }
            let mut bench = bench(Framing::LengthU32be, OnFull::Block);
            bench.framer.stand_at(SourcePosition { device: 1, inode: 2, offset: from as u64 });
            assert!(bench.framer.find_place(&file, || true).unwrap());
            bench.feed(&all[from..], &mut rng);
            assert!(bench.stored() == all[from..], "round {round}, from {from}");
            let before: u64 = expected_records(&ends.range(..=begin).copied().collect());
            let records = expected_records(&ends) - before - u64::from(from > begin);
            if round % 3 != 2 {
                assert_eq!(bench.lines.iter().sum::<u64>(), records, "round {round}, from {from}");
                assert_eq!(said(&bench), None);
            }
            at += 1;
        }
        assert!(at > 1, "{at}");
        let mut stopped = bench(Framing::LengthU32be, OnFull::Block);
        stopped.framer.stand_at(SourcePosition { device: 1, inode: 2, offset: all.len() as u64 });
        assert!(!stopped.framer.find_place(&file, || false).unwrap());
    }
}
