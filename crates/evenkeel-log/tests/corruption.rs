//! Damaged recordings: what was altered is never exported, never called intact,
//! and never made to look sound.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::counting::Counting;
use common::driver::{Driver, Originals, Shape, parse_told, told, told_options, told_recording};
use common::foreign::{Read, indexed, linear};
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Action, Exported, GapReason, LogOptions, Outcome, Recovery, Selection, channel_names, export, recover,
    verify, verify_segment,
};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names that one bit tells apart: an altered channel record may name the other.
const NAMES: [&str; 2] = ["mic1", "mic3"];

const PAGE: usize = 4096;

type Files = Vec<(String, Vec<u8>)>;

fn files(storage: &SimStorage) -> Files {
    let mut files: Files = storage.list().unwrap().into_iter().map(|e| (e.name, Vec::new())).collect();
    files.sort();
    for (name, content) in &mut files {
        *content = storage.content(name).unwrap();
    }
    files
}

fn disk(files: &[(String, Vec<u8>)]) -> Counting<SimStorage> {
    let storage = SimStorage::new();
    for (name, content) in files {
        storage.put(name, content.clone());
    }
    Counting::new(storage)
}

/// The recording with the file at `at` replaced.
fn with(files: &Files, at: usize, content: Vec<u8>) -> Files {
    let mut files = files.clone();
    files[at].1 = content;
    files
}

/// Sequences that the exports of both channels hold; every message is an original, in order.
fn exports(storage: &dyn Storage, originals: &Originals) -> BTreeMap<String, (Vec<u64>, Exported)> {
    let mut all = BTreeMap::new();
    for name in NAMES {
        let mut out = Vec::new();
        let selection = Selection { channel: name.to_owned(), stream: None, segment: None };
        let told = export(storage, &selection, &mut out).unwrap();
        let sequences = parse_told(name, &out, originals);
        assert_eq!(told.records as usize, sequences.len());
        all.insert(name.to_owned(), (sequences, told));
    }
    all
}

fn is_complete(found: &BTreeMap<String, (Vec<u64>, Exported)>, originals: &Originals) -> bool {
    found.iter().all(|(name, (sequences, _))| sequences.len() == originals[name].len())
}

/// Everything in a sealed file, as the other reader sees it, is an original.
fn all_original(messages: &[Read], originals: &Originals) {
    for message in messages.iter().filter(|m| m.topic != "/evenkeel/gaps") {
        let channel = originals.get(&message.topic[1..]).expect("a topic that was never recorded");
        let original = channel.get(&u64::from(message.sequence)).expect("a sequence that was never sent");
        assert!(original.payload == message.payload, "{} {} is altered", message.topic, message.sequence);
        assert_eq!(original.log_time_ns, message.log_time_ns);
        assert_eq!(original.stream, message.stream);
    }
}

/// What came of a damaged recording.
struct Fate {
    recovery: Recovery,
    before: Outcome,
    after: Outcome,
    /// Whether every message sent is still there.
    complete: bool,
    /// Messages that are there in the end.
    kept: usize,
}

/// Verifies, exports, recovers, and checks what must hold of every damage.
fn endure(files: &Files, originals: &Originals, context: &str) -> Fate {
    let disk = disk(files);
    let total: u64 = files.iter().map(|(_, c)| c.len() as u64).sum();
    let before = verify(&disk, false, None).unwrap().outcome;
    let exported = exports(&disk, originals);
    if before != Outcome::Loss {
        // An unsealed end may lose what was not known durable, but nothing before it.
        assert!(
            exported.values().all(|(_, told)| !told.damaged),
            "{context}: {before:?}, but exports are damaged"
        );
    } else if !is_complete(&exported, originals) {
        assert!(exported.values().any(|(_, told)| told.damaged), "{context}: loss that no export tells");
    }
    let inner = disk.inner.clone();
    let shared: Arc<Counting<SimStorage>> = Arc::new(disk);
    let storage: Arc<dyn Storage> = shared.clone();
    let read = shared.read_bytes();
    let recovery = recover(&storage, stamp(1 << 50)).unwrap();
    let read = shared.read_bytes() - read;
    assert!(read <= 16 * total + (1 << 20), "{context}: recovery read {read} of {total} bytes");
    let after = verify(&*storage, false, None).unwrap().outcome;
    let exported = exports(&*storage, originals);
    let complete = is_complete(&exported, originals);
    for name in sealed(&inner) {
        let report = verify_segment(&*storage, &name).unwrap();
        if report.damage_count == 0 {
            let content = inner.content(&name).unwrap();
            let messages = linear(&content);
            assert_eq!(messages, indexed(&content), "{context}: {name}");
            all_original(&messages, originals);
        }
    }
    let again = recover(&storage, stamp(1 << 51)).unwrap();
    assert!(again.segments.is_empty(), "{context}: a second recovery did {:?}", again.segments);
    assert_eq!(again.resume, recovery.resume, "{context}");
    if recovery.is_loss() && !complete {
        assert_eq!(after, Outcome::Loss, "{context}: {recovery:#?}");
    }
    for (name, originals) in originals {
        let sent = originals.len() as u64;
        let next = recovery.resume.channels.get(name).map_or(0, |s| s.last_sequence);
        let last = exported[name].0.last().copied().unwrap_or(0);
        assert!(
            (last..=sent).contains(&next),
            "{context}: {name} goes on after {next}, {last} is there, {sent} sent"
        );
    }
    let kept = exported.values().map(|(s, _)| s.len()).sum();
    Fate { recovery, before, after, complete, kept }
}

fn sealed(storage: &SimStorage) -> Vec<String> {
    let mut names: Vec<String> = storage.list().unwrap().into_iter().map(|e| e.name).collect();
    names.retain(|name| name.ends_with(".mcap"));
    names
}

/// A recorded file is never called intact or declared once anything in it is wrong.
fn endure_sealed(files: &Files, originals: &Originals, context: &str) -> Fate {
    let fate = endure(files, originals, context);
    assert_eq!(fate.before, Outcome::Loss, "{context}: before recovery");
    if !fate.complete {
        assert_eq!(fate.after, Outcome::Loss, "{context}: {:#?}", fate.recovery);
    }
    fate
}

fn total(originals: &Originals) -> usize {
    originals.values().map(BTreeMap::len).sum()
}

const TRUNCATED: [Shape; 2] = [
    Shape { segments: &[3_000, 70_000, 3_000], filling: 4_000, per_commit: 4, sealed: true },
    Shape { segments: &[3_000, 70_000], filling: 4_000, per_commit: 4, sealed: true },
];

fn truncated_everywhere(shape: Shape) -> (usize, usize) {
    let (storage, originals) = told_recording(&NAMES, shape, 11);
    let files = files(&storage);
    let intact = files[1].1.clone();
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
    assert!(intact.len() > 64 << 10);
    let cut = disk(&files).inner;
    let file = cut.reopen(&files[1].0).unwrap();
    let (mut verified, mut recovered) = (0, 0);
    for len in (intact.len() - (64 << 10)..intact.len()).rev() {
        file.truncate(len as u64).unwrap();
        assert_eq!(
            verify(&cut, false, None).unwrap().outcome,
            Outcome::Loss,
            "cut to {len} of {}",
            intact.len()
        );
        verified += 1;
        // Every byte of the seal and of the last commits; of what is alike, some.
        if intact.len() - len < 2_000 || len % 67 == 0 {
            let fate =
                endure_sealed(&with(&files, 1, intact[..len].to_vec()), &originals, &format!("cut to {len}"));
            assert_eq!(fate.recovery.segments.len(), 1, "cut to {len}");
            recovered += 1;
        }
    }
    for len in (0..intact.len() - (64 << 10)).step_by(7).chain(0..900) {
        endure_sealed(&with(&files, 1, intact[..len].to_vec()), &originals, &format!("cut to {len}"));
        recovered += 1;
    }
    (verified, recovered)
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn a_truncated_middle_segment_is_loss() {
    eprintln!("{:?} truncations verified, recovered", truncated_everywhere(TRUNCATED[0]));
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn a_truncated_last_segment_is_loss() {
    eprintln!("{:?} truncations verified, recovered", truncated_everywhere(TRUNCATED[1]));
}

const FLIPPED: Shape =
    Shape { segments: &[40_000, 60_000, 40_000], filling: 3_000, per_commit: 5, sealed: true };

// REQ W3, REQ W5, REQ Q2
#[test]
fn a_flipped_bit_in_a_sealed_segment_is_loss_and_never_exported() {
    let (storage, originals) = told_recording(&NAMES, FLIPPED, 12);
    let files = files(&storage);
    let mut rng = Rng::with_seed(99);
    for round in 0..2_000 {
        let at = rng.usize(0..files.len());
        let mut content = files[at].1.clone();
        // Half of them where the records' heads are dense: at the file's ends.
        let byte = match rng.u8(0..4) {
            0 => rng.usize(0..600),
            1 => content.len() - 1 - rng.usize(0..3_000),
            _ => rng.usize(0..content.len()),
        };
        let bit = rng.u8(0..8);
        content[byte] ^= 1 << bit;
        let context = format!("{round}: bit {bit} of byte {byte} of {}", files[at].0);
        let fate = endure_sealed(&with(&files, at, content), &originals, &context);
        let lost = total(&originals) - fate.kept;
        assert!(lost <= FLIPPED.per_commit, "{context}: one bit cost {lost} messages");
    }
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn a_flipped_bit_in_an_unsealed_segment_is_never_exported() {
    let shape = Shape { sealed: false, ..FLIPPED };
    let (storage, originals) = told_recording(&NAMES, shape, 13);
    let files = files(&storage);
    assert!(files[2].0.ends_with(".part"));
    // The newest commit knows that all before the one before it was durable.
    let commits = commit_ends(&files[2].1);
    let durable = commits[commits.len() - 2];
    let mut losses = 0;
    for round in 0..2_000 {
        let mut rng = Rng::with_seed(round);
        let mut content = files[2].1.clone();
        let byte = if rng.bool() { rng.usize(0..content.len()) } else { rng.usize(0..900) };
        content[byte] ^= 1 << rng.u8(0..8);
        let context = format!("{round}: byte {byte}");
        let fate = endure(&with(&files, 2, content), &originals, &context);
        assert!(fate.before >= Outcome::Declared, "{context}");
        assert_ne!(fate.after, Outcome::Intact, "{context}");
        if byte < durable {
            assert_eq!(fate.before, Outcome::Loss, "{context}: {durable} bytes were durable");
            assert!(fate.recovery.is_loss(), "{context}");
            let lost = total(&originals) - fate.kept;
            assert!(lost <= FLIPPED.per_commit, "{context}: one bit cost {lost} messages");
            losses += 1;
        }
    }
    assert!(losses > 500);
}

/// Where each commit record of a segment ends.
fn commit_ends(content: &[u8]) -> Vec<usize> {
    records(content).into_iter().filter(|r| r.1 == 0x80).map(|(at, _, len)| at + 9 + len).collect()
}

/// Offset, opcode and body length of each record.
fn records(content: &[u8]) -> Vec<(usize, u8, usize)> {
    let (mut at, mut all) = (8, Vec::new());
    while at + 9 <= content.len() && content[at..] != content[content.len() - 8..] {
        let len = u64::from_le_bytes(content[at + 1..at + 9].try_into().unwrap()) as usize;
        all.push((at, content[at], len));
        at += 9 + len;
    }
    all
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn pages_that_are_not_what_was_written_are_loss() {
    let (storage, originals) = told_recording(&NAMES, FLIPPED, 14);
    let files = files(&storage);
    let mut rng = Rng::with_seed(7);
    for round in 0..400 {
        let at = round % files.len();
        let mut content = files[at].1.clone();
        let pages = content.len().div_ceil(PAGE);
        let (a, b) = (rng.usize(0..pages), rng.usize(0..pages - 1));
        let b = if b == a { pages - 1 } else { b };
        let range = |page: usize| page * PAGE..files[at].1.len().min((page + 1) * PAGE);
        let (one, other) = (content[range(a)].to_vec(), content[range(b)].to_vec());
        let both = one.len().min(other.len());
        let kind = round / files.len() % 6;
        match kind {
            0 => content[range(a)].fill(0),
            1 => content[range(a)].fill_with(|| rng.u8(..)),
            2 => content[range(a)][..both].copy_from_slice(&other[..both]),
            3 => {
                content[range(a)][..both].copy_from_slice(&other[..both]);
                content[range(b)][..both].copy_from_slice(&one[..both]);
            }
            4 => drop(content.splice(a * PAGE..a * PAGE, one)),
            _ => drop(content.drain(range(a))),
        }
        if content != files[at].1 {
            let context = format!("{round}: kind {kind} on pages {a} and {b} of {}", files[at].0);
            endure_sealed(&with(&files, at, content), &originals, &context);
        }
    }
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn a_length_that_lies_costs_at_most_what_lies_up_to_the_next_commit() {
    let (storage, originals) = told_recording(&NAMES, FLIPPED, 15);
    let files = files(&storage);
    let intact = &files[1].1;
    let mut lies = 0;
    for (at, opcode, len) in records(intact) {
        let rest = (intact.len() - at) as u64;
        let lengths =
            [u64::MAX, u64::MAX - at as u64, rest, rest - 9, rest + 1, 0, len as u64 + 1, 1 << 24, 1 << 30];
        for lie in lengths.into_iter().filter(|lie| *lie != len as u64) {
            let mut content = intact.clone();
            content[at + 1..at + 9].copy_from_slice(&lie.to_le_bytes());
            let context = format!("record {opcode:#x} at {at} says {lie}");
            let fate = endure_sealed(&with(&files, 1, content), &originals, &context);
            let lost = total(&originals) - fate.kept;
            assert!(lost <= FLIPPED.per_commit, "{context}: cost {lost} messages");
            lies += 1;
        }
        if opcode == 0x06 {
            lies += lying_inside(&files, &originals, at + 9 + 40, at + 9 + len);
        }
    }
    eprintln!("{lies} lies");
}

/// Lengths of messages in a chunk, with and without a CRC that fits the lie.
fn lying_inside(files: &Files, originals: &Originals, from: usize, to: usize) -> usize {
    let intact = &files[1].1;
    for lie in [u64::MAX, 0, 21, (to - from) as u64, 1 << 32] {
        for fitting in [false, true] {
            let mut content = intact.clone();
            content[from + 1..from + 9].copy_from_slice(&lie.to_le_bytes());
            if fitting {
                let crc = crc32fast::hash(&content[from..to]);
                content[from - 16..from - 12].copy_from_slice(&crc.to_le_bytes());
            }
            endure_sealed(&with(files, 1, content), originals, &format!("message at {from} says {lie}"));
        }
    }
    10
}

// REQ W5
#[test]
fn a_crc_of_zero_is_damage() {
    let (storage, originals) = told_recording(&NAMES, FLIPPED, 16);
    let files = files(&storage);
    for (at, opcode, len) in records(&files[1].1) {
        let fields = match opcode {
            0x06 => vec![at + 9 + 24],                            // the chunk's
            0x0F => vec![at + 9],                                 // of the data
            0x02 => vec![at + 9 + 16],                            // of the summary
            0x80 => vec![at + 9 + 8 + 16 + 24, at + 9 + len - 4], // of the region, its own
            _ => continue,
        };
        for field in fields {
            let mut content = files[1].1.clone();
            content[field..field + 4].fill(0);
            if content == files[1].1 {
                continue; // the CRC of nothing is zero
            }
            let fate =
                endure_sealed(&with(&files, 1, content), &originals, &format!("CRC at {field} zeroed"));
            assert!(total(&originals) - fate.kept <= FLIPPED.per_commit);
        }
    }
}

// REQ W3, REQ W5
#[test]
fn a_broken_sealed_segment_is_rebuilt_and_its_loss_declared() {
    let (storage, originals) = told_recording(&NAMES, FLIPPED, 17);
    let files = files(&storage);
    // Cut in the middle, and a chunk bad on top.
    let chunks: Vec<_> = records(&files[1].1).into_iter().filter(|r| r.1 == 0x06).collect();
    let mut content = files[1].1[..files[1].1.len() * 2 / 3].to_vec();
    content[chunks[2].0 + 60] ^= 4;
    let damaged = with(&files, 1, content.clone());
    let fate = endure_sealed(&damaged, &originals, "cut and bent");
    assert!(fate.recovery.is_loss());
    let [done] = &fate.recovery.segments[..] else { panic!("{:?}", fate.recovery.segments) };
    assert_eq!((done.segment, done.action), (2, Action::Rebuilt));
    assert!(!done.losses.is_empty());

    let disk = disk(&damaged).inner;
    let shared: Arc<dyn Storage> = Arc::new(disk.clone());
    recover(&shared, stamp(1 << 50)).unwrap();
    assert!(disk.content("000002.damaged").unwrap() == content, "the original is kept");
    let report = verify_segment(&disk, "000002.mcap").unwrap();
    assert_eq!(report.damage_count, 0, "{report:?}");
    let verification = verify(&disk, false, None).unwrap();
    assert_eq!(verification.outcome, Outcome::Loss);
    let exported = exports(&disk, &originals);
    for (name, (sequences, told)) in &exported {
        assert!(told.damaged);
        // What is missing is exactly what is declared, and nothing is missing without.
        let gaps = verification.gaps.iter().filter(|g| g.channel == *name);
        let declared: Vec<u64> = gaps
            .inspect(|g| assert_eq!(g.reason, GapReason::Damage))
            .flat_map(|g| g.first_sequence..=g.last_sequence.unwrap())
            .collect();
        let missing: Vec<u64> = originals[name].keys().copied().filter(|s| !sequences.contains(s)).collect();
        assert_eq!(declared, missing);
        assert!(!missing.is_empty());
        let report = verification.channels.iter().find(|c| c.name == *name).unwrap();
        assert!(report.missing.is_empty(), "{report:?}");
    }
}

// REQ W3, REQ Q2
#[test]
fn a_rebuild_that_is_cut_short_comes_to_the_same_end() {
    let (storage, originals) = told_recording(&NAMES, TRUNCATED[1], 18);
    let whole = files(&storage);
    for (at, keep) in [(0, 1_500), (1, 40_000), (1, whole[1].1.len() - 1_000), (1, 100), (1, 0)] {
        let damaged = with(&whole, at, whole[at].1[..keep].to_vec());
        let straight = disk(&damaged).inner;
        let shared: Arc<dyn Storage> = Arc::new(straight.clone());
        let expected = recover(&shared, stamp(5)).unwrap();
        for seed in 0..12 {
            for stop in 0..straight.operations() {
                let mut rng = Rng::with_seed(seed);
                let disk = disk(&damaged).inner;
                disk.set_faults(Faults { at: Some(stop), for_ever: true, ..Faults::default() });
                let shared: Arc<dyn Storage> = Arc::new(disk.clone());
                assert!(recover(&shared, stamp(5)).is_err());
                disk.set_faults(Faults::default());
                let after = disk.crash(&mut rng);
                let shared: Arc<dyn Storage> = Arc::new(after.clone());
                let context = format!("{at} cut to {keep}, stopped at {stop}, seed {seed}");
                let recovery = recover(&shared, stamp(5)).unwrap();
                assert!(
                    recovery.segments.is_empty() || recovery == expected,
                    "{context}: {recovery:#?} {expected:#?}"
                );
                assert_eq!(recovery.resume, expected.resume, "{context}");
                assert!(files(&after) == files(&straight), "{context}: {:?}", names(&after));
                exports(&after, &originals);
            }
        }
    }
}

fn names(storage: &SimStorage) -> Vec<String> {
    files(storage).into_iter().map(|(name, content)| format!("{name} {}", content.len())).collect()
}

/// Damage near the width of MCAP's sequence: numbering must not fall back.
// REQ W3, REQ W5
#[test]
fn a_rebuilt_segment_keeps_its_numbers_beyond_32_bits() {
    let start = 3u64 << 31;
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), told_options());
    let mut rng = Rng::with_seed(3);
    driver.stream("mic1");
    driver.stream("mic3");
    driver.gap("mic1", start);
    for _ in 0..2 {
        for _ in 0..10 {
            driver.append_told("mic1", 500, &mut rng);
            driver.commit_sync();
        }
        driver.rotate();
    }
    driver.append_told("mic3", 500, &mut rng);
    driver.end_sources();
    assert!(driver.finish());
    let whole = files(&storage);
    let first_commit = records(&whole[1].1).into_iter().find(|r| r.1 == 0x80).unwrap();
    for (bent, cut) in [(first_commit.0 + 20, 500), (first_commit.0 + 20, 3_000), (9, 500)] {
        let mut content = whole[1].1[..whole[1].1.len() - cut].to_vec();
        content[bent] ^= 1;
        let disk = disk(&with(&whole, 1, content)).inner;
        let shared: Arc<dyn Storage> = Arc::new(disk.clone());
        let recovery = recover(&shared, stamp(5)).unwrap();
        assert!(recovery.is_loss());
        assert_eq!(recovery.resume.channels["mic1"].last_sequence, start + 20);
        let exported = exports(&disk, &driver.sent);
        assert!(exported["mic1"].0.len() >= 14, "{:?}", exported["mic1"].0);
        let content = disk.content("000002.mcap").unwrap();
        for message in linear(&content).iter().filter(|m| m.topic == "/mic1") {
            let sequence = (start & !u64::from(u32::MAX)) + u64::from(message.sequence);
            assert!(driver.sent["mic1"][&sequence].payload == message.payload);
        }
        let verification = verify(&disk, false, None).unwrap();
        let lost = exported["mic1"].0.len() < 20;
        assert_eq!(verification.outcome, if lost { Outcome::Loss } else { Outcome::Declared });
        assert!(verification.channels.iter().all(|c| c.missing.is_empty()), "{:?}", verification.channels);
    }
}

/// A file written by the `mcap` crate: chunks, no compression, a large message.
fn written_by_another() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let mut writer = mcap::WriteOptions::new().compression(None).create(&mut out).unwrap();
    let id = writer.add_channel(0, "/mic1", "application/octet-stream", &BTreeMap::new()).unwrap();
    for (sequence, len) in [(1, 10), (2, 5 << 20), (3, 0)] {
        let header = mcap::records::MessageHeader { channel_id: id, sequence, log_time: 5, publish_time: 5 };
        writer.write_to_known_channel(&header, &vec![9; len]).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    out.into_inner()
}

// REQ W5
#[test]
fn files_of_other_origin_are_neither_believed_nor_destroyed() {
    let mut rng = Rng::with_seed(4);
    let random: Vec<u8> = (0..100_000).map(|_| rng.u8(..)).collect();
    let mut magic_only = written_by_another();
    magic_only.truncate(8);
    for content in [written_by_another(), random, Vec::new(), magic_only, vec![0; 5_000]] {
        let storage = SimStorage::new();
        storage.put("000001.mcap", content.clone());
        assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Loss);
        let mut out = Vec::new();
        for name in channel_names(&storage).unwrap() {
            let selection = Selection { channel: name, stream: None, segment: None };
            export(&storage, &selection, &mut out).unwrap();
        }
        assert!(out.is_empty());
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        recover(&shared, stamp(5)).unwrap();
        assert!(recover(&shared, stamp(6)).unwrap().segments.is_empty());
        let kept = files(&storage).into_iter().any(|(_, found)| found == content);
        assert!(kept || content.is_empty(), "the file is gone: {:?}", names(&storage));
        assert!(verify(&storage, false, None).unwrap().outcome >= Outcome::Loss);
    }
}

/// A recording whose payload is a segment of its own kind, and what was sent.
fn nested() -> (SimStorage, Originals) {
    let shape = Shape { segments: &[60_000], filling: 500, per_commit: 3, sealed: true };
    let (inner, _) = told_recording(&["inner"], shape, 20);
    let embedded = inner.content("000001.mcap").unwrap();
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), told_options());
    driver.stream("mic1");
    for piece in embedded.chunks(10_000) {
        driver.append("mic1", &[piece.to_vec()]);
        driver.commit_sync();
    }
    // One message that holds whole records and commits of the other.
    driver.append("mic1", &[embedded[..60_000].to_vec()]);
    driver.commit_sync();
    driver.end_sources();
    assert!(driver.finish());
    (storage, driver.sent)
}

// REQ W3, REQ W5
#[test]
fn nothing_of_an_embedded_segment_passes_for_a_message() {
    let (storage, originals) = nested();
    let whole = storage.content("000001.mcap").unwrap();
    for (at, opcode, len) in records(&whole) {
        for lie in [u64::MAX, 0, 40, 49, len as u64 / 2, len as u64 + 1] {
            let mut content = whole.clone();
            content[at + 1..at + 9].copy_from_slice(&lie.to_le_bytes());
            check_nested(content, &originals, &format!("record {opcode:#x} at {at} says {lie}"));
        }
        let mut content = whole.clone();
        content[at] ^= 2;
        check_nested(content, &originals, &format!("record {opcode:#x} at {at} is of another kind"));
    }
}

/// A recording of one large message, whose payload begins at the answered offset.
fn of_one_message(payload: Vec<u8>) -> (Vec<u8>, Originals, usize) {
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), told_options());
    driver.stream("mic1");
    driver.append("mic1", &[payload]);
    driver.commit_sync();
    driver.append("mic1", &[b"after it".to_vec()]);
    driver.end_sources();
    assert!(driver.finish());
    let content = storage.content("000001.mcap").unwrap();
    let chunk = records(&content).into_iter().find(|r| r.1 == 0x06).unwrap();
    (content, driver.sent, chunk.0 + 49 + 31)
}

// REQ W3, REQ W5
#[test]
fn a_commit_of_another_recording_does_not_pass_even_in_its_own_place() {
    let storage = SimStorage::new();
    let options = LogOptions { run_id: [9; 16], ..told_options() };
    let mut driver = Driver::new(Arc::new(storage.clone()), options);
    driver.stream("inner");
    for _ in 0..60 {
        driver.append("inner", &[vec![5; 900]]);
        driver.commit_sync();
    }
    let embedded = storage.content("000001.mcap.part").unwrap();
    let (_, _, place) = of_one_message(vec![0; 50_000]);
    // Every byte of it stands where it stood in its own file.
    let (content, originals, same) = of_one_message(embedded[place..place + 50_000].to_vec());
    assert_eq!(place, same);
    let chunk = place - 49 - 31;
    for lie in [u64::MAX, 0, 40, 1 << 30] {
        let mut content = content.clone();
        content[chunk + 1..chunk + 9].copy_from_slice(&lie.to_le_bytes());
        check_nested(content, &originals, &format!("the chunk says {lie}"));
    }
}

fn check_nested(content: Vec<u8>, originals: &Originals, context: &str) {
    let storage = SimStorage::new();
    storage.put("000001.mcap", content);
    for recovered in [false, true] {
        if recovered {
            let shared: Arc<dyn Storage> = Arc::new(storage.clone());
            recover(&shared, stamp(9)).unwrap();
        }
        assert!(channel_names(&storage).unwrap().iter().all(|n| n == "mic1"), "{context}");
        let mut out = Vec::new();
        let selection = Selection { channel: "mic1".to_owned(), stream: None, segment: None };
        let told = export(&storage, &selection, &mut out).unwrap();
        let sent: Vec<&[u8]> = originals["mic1"].values().map(|m| &m.payload[..]).collect();
        // Whole originals, in order.
        let (mut rest, mut next) = (&out[..], 0);
        while !rest.is_empty() {
            let found = sent[next..].iter().position(|p| rest.starts_with(p));
            let found = next + found.unwrap_or_else(|| panic!("{context}: a message that was never sent"));
            (rest, next) = (&rest[sent[found].len()..], found + 1);
        }
        assert!(told.records as usize >= sent.len() - 1, "{context}: {} of {}", told.records, sent.len());
    }
}

// A checker that cannot fail is a defect: these are what the checks above rest on.
// REQ Q2
#[test]
fn the_parser_of_exports_notices_alterations() {
    let mut rng = Rng::with_seed(1);
    let (_, originals) = told_recording(&NAMES, TRUNCATED[1], 18);
    let first = originals["mic1"][&1].payload.clone();
    let second = originals["mic1"][&2].payload.clone();
    assert_eq!(parse_told("mic1", &[&first[..], &second[..]].concat(), &originals), [1, 2]);
    let invented = told("mic1", 1, 5, &mut rng);
    for bad in
        [[&second[..], &first[..]].concat(), first[1..].to_vec(), [&first[..], &first[..]].concat(), invented]
    {
        let caught = std::panic::catch_unwind(|| parse_told("mic1", &bad, &originals));
        assert!(caught.is_err());
    }
}
