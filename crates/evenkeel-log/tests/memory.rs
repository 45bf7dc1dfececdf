//! Hostile files: memory stays bounded, and the time linear. Alone in its
//! binary, because it looks at what the whole process took.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::counting::Counting;
use common::stamp;
use evenkeel_log::storage::{DirStorage, Storage};
use evenkeel_log::{Outcome, Selection, channel_names, export, recover, verify};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

const FILE_BYTES: usize = 64 << 20;
const GROWTH_BYTES_MAX: u64 = 256 << 20;
/// Every scan reads a file once or twice, and there are some scans.
const READS_MAX: u64 = 24;
const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// The peak before the first file was looked at.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// The most memory that this process has had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn record(opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![opcode];
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A channel record with the CRC that ours have.
fn channel(id: u16, topic: &str) -> Vec<u8> {
    let pair = [string("crc"), string("")].concat();
    let mut body = [&id.to_le_bytes()[..], &[0, 0], &string(topic), &string("x")].concat();
    body.extend_from_slice(&(pair.len() as u32 + 8).to_le_bytes());
    body.extend_from_slice(&string("crc"));
    body.extend_from_slice(&8u32.to_le_bytes());
    let crc = format!("{:08x}", crc32fast::hash(&body));
    body.extend_from_slice(crc.as_bytes());
    record(4, &body)
}

fn chunk(records: &[u8], crc: u32) -> Vec<u8> {
    let len = (records.len() as u64).to_le_bytes();
    record(6, &[&[0; 16], &len[..], &crc.to_le_bytes(), &[0; 4], &len[..], records].concat())
}

fn small_chunk() -> Vec<u8> {
    let message = record(5, &[&[1, 0, 1, 0, 0, 0], &[0; 16][..]].concat());
    chunk(&message, crc32fast::hash(&message))
}

/// Something that looks like a commit that stands at `at` and is as long as may be.
fn lookalike(at: u64) -> Vec<u8> {
    let mut out = vec![0x80];
    out.extend_from_slice(&((16 << 20) - 1u64).to_le_bytes());
    out.extend_from_slice(b"EK\x01commt");
    out.extend_from_slice(&[3; 24]);
    out.extend_from_slice(&at.to_le_bytes());
    out
}

/// Fills a file with what `next` makes at each offset.
fn fill(path: &Path, head: &[u8], mut next: impl FnMut(u64) -> Vec<u8>) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    out.write_all(head).unwrap();
    let mut at = head.len();
    while at < FILE_BYTES {
        let piece = next(at as u64);
        out.write_all(&piece).unwrap();
        at += piece.len();
    }
    out.into_inner().unwrap();
}

fn endure_as(name: &str, file: &str, head: &[u8], next: impl FnMut(u64) -> Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join(file), head, next);
    BEFORE.get_or_init(peak_bytes);
    let storage = Arc::new(Counting::new(DirStorage::open(dir.path()).unwrap()));
    let started = std::time::Instant::now();
    assert!(verify(&*storage, false, None).unwrap().outcome >= Outcome::Declared, "{name}");
    for channel in channel_names(&*storage).unwrap().into_iter().take(2) {
        let selection = Selection { channel, stream: None, segment: None };
        export(&*storage, &selection, &mut std::io::sink()).unwrap();
    }
    let shared: Arc<dyn Storage> = storage.clone();
    recover(&shared, stamp(1)).unwrap();
    assert!(recover(&shared, stamp(2)).unwrap().segments.is_empty(), "{name}");
    let (grown, read) = (peak_bytes() - BEFORE.get_or_init(peak_bytes), storage.read_bytes());
    eprintln!("{name}, {file}: {} MiB more, {} MiB read, {:?}", grown >> 20, read >> 20, started.elapsed());
    assert!(grown < GROWTH_BYTES_MAX, "{name}: {grown} bytes more");
    assert!(read < READS_MAX * FILE_BYTES as u64, "{name}: {read} bytes read");
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn hostile_files_take_bounded_memory_and_linear_time() {
    let started = std::time::Instant::now();
    let defined = [&MAGIC[..], &channel(1, "/a")].concat();
    let chunk_and_defined = [&defined[..], &small_chunk()].concat();
    let piece = |of: Vec<u8>| move |_: u64| of.clone();
    let sealed = "000001.mcap";
    endure_as("zeroes", sealed, &[], piece(vec![0; 1 << 20]));
    endure_as("ones", sealed, &MAGIC, piece(vec![0xFF; 1 << 20]));
    endure_as("markers", sealed, &MAGIC, piece(b"EK\x01commt".repeat(1 << 10)));
    endure_as("commits that are none", sealed, &MAGIC, lookalike);
    endure_as("commits that are none, unsealed", "000001.mcap.part", &MAGIC, lookalike);
    endure_as("chunks", sealed, &defined, piece(small_chunk().repeat(1 << 10)));
    endure_as("bad chunks", sealed, &defined, piece(chunk(&[], 1).repeat(1 << 10)));
    endure_as("message indexes", sealed, &chunk_and_defined, piece(record(7, &[0; 6]).repeat(1 << 10)));
    endure_as("metadata", sealed, &MAGIC, piece(record(12, &[0; 8]).repeat(1 << 10)));
    endure_as("headers", sealed, &MAGIC, piece(record(1, &[0; 8]).repeat(1 << 10)));
    endure_as("schemas", sealed, &MAGIC, piece(record(3, &[0; 14]).repeat(1 << 10)));
    let mut id = 0u16;
    endure_as("channels", "000001.mcap.part", &MAGIC, |_| {
        id = id.wrapping_add(1);
        channel(id, &format!("/{id:0>900}"))
    });
    // Minutes would be another order than linear.
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}
