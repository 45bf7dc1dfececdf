//! What others send: connections, datagrams; what there is no room for; when it counts as safe.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;
#[expect(dead_code, reason = "its other users need all of it")]
#[path = "../../evenkeel/tests/journal/gate.rs"]
mod gate;

use common::{LONG, after, config, eventually, silent, stored};
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{GapReason, LogOptions, Outcome, Selection, export, verify};
use evenkeel_recorder::{
    ChannelConfig, ChannelCounts, Condition, Config, Durability, Framing, OnFull, Recorder, Source,
};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

fn nowhere() -> &'static Path {
    Path::new("simulated")
}

fn tcp(name: &str) -> ChannelConfig {
    ChannelConfig::new(name, Source::Tcp("127.0.0.1:0".parse().unwrap()))
}

fn udp(name: &str) -> ChannelConfig {
    ChannelConfig::new(name, Source::Udp("127.0.0.1:0".parse().unwrap()))
}

/// A recorder over a simulated medium.
fn start(channels: Vec<ChannelConfig>) -> (Recorder, SimStorage) {
    start_with(config(nowhere(), channels))
}

fn start_with(config: Config) -> (Recorder, SimStorage) {
    let storage = SimStorage::new();
    let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
    (recorder, storage)
}

fn address(recorder: &Recorder, channel: &str) -> String {
    let mut listening = recorder.listening().iter();
    listening.find(|(name, _)| name == channel).unwrap().1.clone()
}

fn counts(recorder: &Recorder, channel: usize) -> ChannelCounts {
    recorder.channels().swap_remove(channel)
}

/// The bytes of one stream of a channel.
fn stream(storage: &dyn Storage, channel: &str, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let selection = Selection { channel: channel.to_owned(), stream: Some(number), segment: None };
    export(storage, &selection, &mut out).unwrap();
    out
}

fn stop_clean(recorder: &Recorder, storage: &SimStorage) {
    let ending = recorder.stop(after(LONG));
    assert!(ending.clean, "{:?}", ending.faults);
    let found = verify(storage, false, None).unwrap();
    assert!(found.outcome <= Outcome::Declared, "{found:#?}");
}

// REQ W1, REQ W2
#[test]
fn every_connection_is_a_stream_of_its_own() {
    let (recorder, storage) = start(vec![tcp("net")]);
    let sent = |n: u8| vec![n; 100_000 + usize::from(n)];
    let senders: Vec<_> = (1..=20)
        .map(|n| {
            let mut peer = TcpStream::connect(address(&recorder, "net")).unwrap();
            std::thread::spawn(move || peer.write_all(&sent(n)).unwrap())
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let all: u64 = (1..=20).map(|n| sent(n).len() as u64).sum();
    eventually("all of it", || counts(&recorder, 0).accepted_bytes == all);
    assert_eq!(counts(&recorder, 0).condition(), Condition::Running);
    stop_clean(&recorder, &storage);
    assert_eq!(counts(&recorder, 0).condition(), Condition::Stopped);
    let mut seen: Vec<u8> = (1..=20)
        .map(|number| {
            let bytes = stream(&storage, "net", number);
            assert!(bytes == sent(bytes[0]), "stream {number} is mixed");
            bytes[0]
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=20).collect::<Vec<u8>>());
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
}

// REQ W1
#[test]
fn lines_of_connections_are_never_mixed() {
    let framing = Framing::Lines;
    let (recorder, storage) = start(vec![ChannelConfig { framing, ..tcp("net") }]);
    let mut peers: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(address(&recorder, "net")).unwrap()).collect();
    let mut sent = 0;
    for round in 0..200 {
        for (n, peer) in peers.iter_mut().enumerate() {
            // Half a line, so that each has something begun while the others speak.
            let piece = format!("{n} goes\n{n} on in {round} ");
            peer.write_all(piece.as_bytes()).unwrap();
            sent += piece.len() as u64;
        }
    }
    drop(peers);
    eventually("all of it", || counts(&recorder, 0).accepted_bytes == sent);
    stop_clean(&recorder, &storage);
    let text = String::from_utf8(stored(&storage, "net")).unwrap();
    for number in 1..=3 {
        let of_stream = String::from_utf8(stream(&storage, "net", number)).unwrap();
        let who = &of_stream[..1];
        assert!(of_stream.lines().all(|line| line.starts_with(who)), "stream {number}");
    }
    assert_eq!(text.len() as u64, sent);
}

// REQ R3, REQ R4
#[test]
fn a_flood_has_no_more_memory_than_its_quota_and_another_records() {
    let quota = 150_000;
    let lengths = ChannelConfig { framing: Framing::LengthU32be, ..tcp("flood") };
    let (recorder, storage) = start(vec![ChannelConfig { quota: Some(quota), ..lengths }, tcp("quiet")]);
    let mut flood = TcpStream::connect(address(&recorder, "flood")).unwrap();
    let mut quiet = TcpStream::connect(address(&recorder, "quiet")).unwrap();
    let message = [&100_000u32.to_be_bytes()[..], &[7; 100_000]].concat();
    let pushed = message.repeat(300);
    let all = pushed.len() as u64;
    let pushing = std::thread::spawn(move || flood.write_all(&pushed).unwrap());
    let (mut sent, mut most) = (0, 0);
    eventually("all of the flood", || {
        let counts = counts(&recorder, 0);
        assert!(counts.held_bytes as u64 <= quota, "{counts:?}");
        most = most.max(counts.held_bytes);
        if counts.accepted_bytes < all && sent < 1_000 {
            quiet.write_all(b"w").unwrap();
            sent += 1;
        }
        counts.accepted_bytes == all
    });
    pushing.join().unwrap();
    assert!(most > 65_536, "{most}: it was no flood");
    eventually("the quiet one", || counts(&recorder, 1).stored_bytes == sent);
    stop_clean(&recorder, &storage);
    assert_eq!(counts(&recorder, 0).accepted_records, 600);
    assert_eq!(stored(&storage, "flood"), message.repeat(300));
}

// REQ W2
#[test]
fn what_peers_had_sent_when_the_stop_came_is_there() {
    let (recorder, storage) = start(vec![tcp("net")]);
    let mut early = TcpStream::connect(address(&recorder, "net")).unwrap();
    early.write_all(b"early ").unwrap();
    eventually("the first bytes", || counts(&recorder, 0).accepted_bytes == 6);
    early.write_all(b"and late ").unwrap();
    // It has connected and spoken; whether it was accepted before the stop is a race.
    let mut late = TcpStream::connect(address(&recorder, "net")).unwrap();
    late.write_all(b"too late?").unwrap();
    recorder.order_stop_capture(after(LONG));
    assert!(recorder.wait_captured(0, after(LONG)));
    stop_clean(&recorder, &storage);
    assert_eq!(stream(&storage, "net", 1), b"early and late ");
    assert_eq!(stream(&storage, "net", 2), b"too late?");
    assert_eq!(counts(&recorder, 0).last_fault, None);
    // The peer is told that nobody listens any more.
    let mut end = Vec::new();
    assert!(matches!(early.read_to_end(&mut end), Ok(0) | Err(_)));
    assert!(TcpStream::connect(address(&recorder, "net")).is_err());
}

// REQ W4
#[test]
fn a_peer_that_hangs_up_harms_nobody() {
    let (recorder, storage) = start(vec![tcp("net")]);
    let rude = TcpStream::connect(address(&recorder, "net")).unwrap();
    let mut polite = TcpStream::connect(address(&recorder, "net")).unwrap();
    (&rude).write_all(b"rude").unwrap();
    polite.write_all(b"polite").unwrap();
    eventually("both", || counts(&recorder, 0).accepted_bytes == 10);
    // Lingering for no time at all: the kernel sends a reset.
    rustix::net::sockopt::set_socket_linger(&rude, Some(std::time::Duration::ZERO)).unwrap();
    drop(rude);
    eventually("the reset", || counts(&recorder, 0).last_fault.is_some());
    polite.write_all(b" still").unwrap();
    eventually("the other goes on", || counts(&recorder, 0).accepted_bytes == 16);
    assert_eq!(counts(&recorder, 0).condition(), Condition::Running);
    drop(polite);
    stop_clean(&recorder, &storage);
}

// REQ W1
#[test]
fn a_socket_of_the_file_system_is_listened_to_and_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("socket");
    let (recorder, storage) = start(vec![ChannelConfig::new("local", Source::Unix(path.clone()))]);
    for n in 0..50 {
        // A peer that connects and says nothing leaves nothing.
        drop(UnixStream::connect(&path).unwrap());
        UnixStream::connect(&path).unwrap().write_all(format!("{n},").as_bytes()).unwrap();
    }
    let all: String = (0..50).map(|n| format!("{n},")).collect();
    eventually("all of it", || counts(&recorder, 0).accepted_bytes == all.len() as u64);
    stop_clean(&recorder, &storage);
    // Between connections there is no order; each is a stream, in the order of their first bytes.
    let mut streams: Vec<Vec<u8>> = (1..=50).map(|number| stream(&storage, "local", number)).collect();
    assert_eq!(stored(&storage, "local"), streams.concat());
    streams.sort_by_key(Vec::len);
    streams[..10].sort();
    streams[10..].sort();
    assert_eq!(streams.concat(), all.as_bytes());
    assert!(!path.exists());
}

// REQ W1, REQ W2
#[test]
fn a_datagram_is_a_message_even_an_empty_one() {
    let (recorder, storage) = start(vec![udp("gram")]);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(address(&recorder, "gram")).unwrap();
    let longest = vec![7; 65_507];
    for datagram in [&b"one"[..], b"", b"three", &longest] {
        assert_eq!(peer.send(datagram).unwrap(), datagram.len());
    }
    eventually("all four", || counts(&recorder, 0).accepted_records == 4);
    // What is there when the stop comes is drained.
    (0..500).for_each(|_| _ = peer.send(b"more").unwrap());
    recorder.order_stop_capture(after(LONG));
    stop_clean(&recorder, &storage);
    let counts = counts(&recorder, 0);
    assert_eq!((counts.accepted_records, counts.kernel_dropped), (504, Some(0)));
    let found = verify(&storage, false, None).unwrap();
    assert_eq!((found.channels[0].records, found.outcome), (504, Outcome::Intact));
    assert!(stored(&storage, "gram").starts_with(b"onethree\x07"));
}

// REQ R9
#[test]
fn what_the_kernel_dropped_is_counted_apart() {
    let (recorder, storage) = start(vec![udp("gram")]);
    // The medium takes nothing: the memory fills, then the receive buffer, then the kernel drops.
    storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(address(&recorder, "gram")).unwrap();
    let mut sent = 0u64;
    let dropped = |recorder: &Recorder| counts(recorder, 0).kernel_dropped.unwrap_or(0);
    while sent < 5_000 {
        sent += u64::from(peer.send(&[1; 60_000]).is_ok());
    }
    storage.set_faults(Faults::default());
    eventually("the kernel's count", || dropped(&recorder) > 0);
    // While the disk is full, a stop leaves what has not been received where it is.
    eventually("space again", || recorder.trouble().is_none());
    stop_clean(&recorder, &storage);
    let counts = counts(&recorder, 0);
    assert_eq!(counts.accepted_records + counts.kernel_dropped.unwrap(), sent);
    assert_eq!(counts.dropped_records, 0);
}

/// A channel that drops, another that does not, on a medium that takes nothing.
fn dropping(framing: Framing, on_full: OnFull) {
    let (one, other) = (silent(), silent());
    let (recorder, storage) = start_with(Config {
        log: LogOptions { ballast_bytes: 64 << 10, ..LogOptions::default() },
        ..config(
            nowhere(),
            vec![
                ChannelConfig { on_full, framing, ..ChannelConfig::new("drops", one.source) },
                ChannelConfig::new("blocks", other.source),
            ],
        )
    });
    let (mut one, mut other) = (one.feed, other.feed);
    other.write_all(b"first").unwrap();
    eventually("the first acknowledgement", || counts(&recorder, 1).committed_bytes == 5);
    storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let mut sent = Vec::new();
    let dropped = || counts(&recorder, 0).dropped_bytes;
    for n in 0u64.. {
        let piece = format!("{n:07} of so many\n").repeat(100);
        one.write_all(piece.as_bytes()).unwrap();
        sent.extend_from_slice(piece.as_bytes());
        if dropped() > 1_000_000 {
            break;
        }
    }
    assert!(recorder.trouble().is_some_and(|trouble| trouble.contains("full")));
    other.write_all(b" second").unwrap();
    eventually("the other is heard all the same", || counts(&recorder, 1).accepted_bytes == 12);
    storage.set_faults(Faults::default());
    eventually("space again", || counts(&recorder, 0).undeclared_records == 0);
    let last = b"at last\n";
    one.write_all(last).unwrap();
    sent.extend_from_slice(last);
    drop((one, other));
    eventually("both at their end", || recorder.has_ended());
    let ending = recorder.stop(after(LONG));
    assert!(ending.clean && !ending.complete, "{:?}", ending.faults);
    let of = &ending.channels[0];
    assert_eq!(of.accepted_bytes, sent.len() as u64);
    assert_eq!(of.accepted_records, of.committed_records + of.dropped_records);
    assert_eq!(of.accepted_bytes, of.committed_bytes + of.dropped_bytes);
    let found = verify(&storage, false, None).unwrap();
    assert_eq!(found.outcome, Outcome::Declared, "{found:#?}");
    let gaps: Vec<_> = found.gaps.iter().filter(|gap| gap.channel == "drops").collect();
    let reason = if on_full == OnFull::DropOldest { GapReason::DropOldest } else { GapReason::DropNewest };
    assert!(gaps.iter().all(|gap| gap.reason == reason && gap.from <= gap.to), "{gaps:?}");
    assert_eq!(gaps.iter().filter_map(|gap| gap.bytes).sum::<u64>(), of.dropped_bytes);
    assert_eq!(gaps.len() as u64, of.gaps);
    // The beginning and the end are there, and nothing that was not sent.
    let out = stored(&storage, "drops");
    assert!(out.ends_with(last));
    if on_full == OnFull::DropOldest {
        // All the newest, as much as there was memory for: 5 MiB, which short reads of short lines fill to a seventh.
        assert!(sent.ends_with(&out[out.len() - 500_000..]));
    } else {
        assert!(sent.starts_with(&out[..500_000]));
    }
    assert_eq!(stored(&storage, "blocks"), b"first second");
}

// REQ R9, REQ R5, REQ W4
#[test]
fn what_finds_no_room_is_dropped_and_declared_in_lines() {
    dropping(Framing::Lines, OnFull::DropNewest);
}

// REQ R9, REQ R5, REQ W4
#[test]
fn what_waits_longest_makes_room_and_is_declared() {
    for framing in [Framing::Lines, Framing::Chunk] {
        dropping(framing, OnFull::DropOldest);
    }
}

// REQ R9, REQ R5, REQ W4
#[test]
fn what_finds_no_room_is_dropped_and_declared_in_chunks() {
    dropping(Framing::Chunk, OnFull::DropNewest);
}

// REQ W3
#[test]
fn a_level_says_when_a_record_is_safe() {
    let sources = [silent(), silent(), silent()];
    let levels = [Durability::Memory, Durability::Process, Durability::Disk];
    let (mut channels, mut feeds) = (Vec::new(), Vec::new());
    for (source, durability) in sources.into_iter().zip(levels) {
        let name = format!("{durability:?}").to_lowercase();
        channels.push(ChannelConfig { durability, ..ChannelConfig::new(name, source.source) });
        feeds.push(source.feed);
    }
    // No commit comes by itself.
    let (recorder, storage) = start_with(Config { commit_ns: u64::MAX / 4, ..config(nowhere(), channels) });
    let committed = |channel| counts(&recorder, channel).committed_bytes;
    feeds.iter_mut().for_each(|feed| feed.write_all(b"word").unwrap());
    eventually("all are accepted", || (0..3).all(|c| counts(&recorder, c).accepted_bytes == 4));
    assert_eq!([0, 1, 2].map(committed), [4, 0, 0]);
    assert!(!counts(&recorder, 0).is_settled(), "in memory, but not on the disk");
    drop(feeds);
    stop_clean(&recorder, &storage);
    assert_eq!([0, 1, 2].map(committed), [4, 4, 4]);
}

// REQ W3, REQ R9
#[test]
fn much_that_waits_to_be_durable_does_not_wait_for_the_time_of_a_commit() {
    let mut source = silent();
    let channels = vec![ChannelConfig::new("flood", source.source)];
    let (recorder, storage) = start_with(Config { commit_ns: u64::MAX / 4, ..config(nowhere(), channels) });
    source.feed.write_all(b"word").unwrap();
    eventually("a word", || counts(&recorder, 0).accepted_bytes == 4);
    assert_eq!(counts(&recorder, 0).committed_bytes, 0, "no commit comes by itself");
    // On a thread: without a commit it would wait for memory for ever.
    let feeding = std::thread::spawn(move || source.feed.write_all(&vec![7; 6 << 20]));
    // Less than what presses may be left.
    eventually("commits", || counts(&recorder, 0).committed_bytes > 3 << 20);
    feeding.join().unwrap().unwrap();
    stop_clean(&recorder, &storage);
}

// REQ W3
#[test]
fn what_is_written_is_safe_for_who_says_so_even_while_nothing_can_be_synced() {
    let sources = [silent(), silent()];
    let levels = [Durability::Process, Durability::Disk];
    let (mut channels, mut feeds) = (Vec::new(), Vec::new());
    for (source, durability) in sources.into_iter().zip(levels) {
        let name = format!("{durability:?}").to_lowercase();
        channels.push(ChannelConfig { durability, ..ChannelConfig::new(name, source.source) });
        feeds.push(source.feed);
    }
    let storage = SimStorage::new();
    let gate = gate::Gate::over(storage.clone());
    let recorder = Recorder::start_on(Arc::new(gate.clone()), None, config(nowhere(), channels)).unwrap();
    gate.shut();
    feeds.iter_mut().for_each(|feed| feed.write_all(b"word").unwrap());
    let committed = |channel| counts(&recorder, channel).committed_bytes;
    eventually("the write", || committed(0) == 4);
    assert_eq!(committed(1), 0, "no sync has come back");
    gate.open();
    eventually("the sync", || committed(1) == 4);
    drop(feeds);
    stop_clean(&recorder, &storage);
}

/// What a peer sends: whose it is stands in every line.
fn of_peer(peer: usize, bytes: usize) -> Vec<u8> {
    let lines = (0u64..).flat_map(|n| format!("{peer} {}\n", n * n % 99_991).into_bytes());
    lines.take(bytes).collect()
}

/// Peers come, speak and go; the stop comes at some moment.
fn peers_at_some_moment(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let framing = if rng.bool() { Framing::Lines } else { Framing::Chunk };
    let on_full = [OnFull::DropNewest, OnFull::DropOldest, OnFull::Block][rng.usize(0..3)];
    let (recorder, storage) = start(vec![ChannelConfig { framing, on_full, ..tcp("net") }]);
    let address = address(&recorder, "net");
    let peers = rng.usize(1..6);
    std::thread::scope(|scope| {
        for peer in 0..peers {
            let (mut rng, address) = (fastrand::Rng::with_seed(seed << 8 | peer as u64), address.clone());
            scope.spawn(move || {
                let text = of_peer(peer, rng.usize(1..200_000));
                // Who comes too late is not heard.
                let Ok(mut socket) = TcpStream::connect(address) else { return };
                let mut rest = &text[..];
                while !rest.is_empty() {
                    let n = rng.usize(1..=rest.len().min(20_000));
                    if socket.write_all(&rest[..n]).is_err() {
                        return;
                    }
                    rest = &rest[n..];
                }
            });
        }
        (0..rng.usize(0..300)).for_each(|_| std::thread::yield_now());
        recorder.order_stop_capture(after(LONG));
        let ending = recorder.stop(after(LONG));
        assert!(ending.clean && ending.complete, "seed {seed}: {:?}", ending.faults);
    });
    let counts = counts(&recorder, 0);
    assert!(counts.is_settled() && counts.refused_records == 0, "seed {seed}: {counts:?}");
    let mut bytes = 0;
    for number in 1..=peers as u32 {
        let of_stream = stream(&storage, "net", number);
        bytes += of_stream.len() as u64;
        if let Some(first) = of_stream.first() {
            let sent = of_peer(usize::from(first - b'0'), of_stream.len());
            assert!(of_stream == sent, "seed {seed}: stream {number} is not what peer {first} sent");
        }
    }
    assert_eq!(bytes, counts.accepted_bytes, "seed {seed}");
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact, "seed {seed}");
}

// REQ W2, REQ W4
#[test]
fn whenever_the_stop_comes_what_was_accepted_of_each_peer_is_there() {
    for seed in 0..100 {
        peers_at_some_moment(seed);
    }
}

// REQ W1
#[test]
fn a_fifo_waits_for_its_writer_and_holds_up_no_stop() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let scratch = tempfile::tempdir().unwrap();
    let paths = ["silent", "spoken"].map(|name| scratch.path().join(name));
    for path in &paths {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let channel = |path: &std::path::PathBuf| {
        ChannelConfig::new(path.file_name().unwrap().to_str().unwrap(), Source::File(path.clone()))
    };
    let (recorder, storage) = start(paths.iter().map(channel).collect());
    // Nobody has opened them yet: that is no end.
    let mut writer = std::fs::File::options().write(true).open(&paths[1]).unwrap();
    writer.write_all(b"said").unwrap();
    eventually("what was said", || counts(&recorder, 1).accepted_bytes == 4);
    drop(writer);
    eventually("the end", || counts(&recorder, 1).condition() == Condition::Ended);
    assert_eq!(counts(&recorder, 0).condition(), Condition::Running);
    stop_clean(&recorder, &storage);
    assert_eq!(stored(&storage, "spoken"), b"said");
}
