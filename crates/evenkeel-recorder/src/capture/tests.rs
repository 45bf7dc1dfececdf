//! Sources without memory, with faults, and many of them at once.

use super::*;
use crate::config::{Durability, OnFull};
use crate::hub::SURPLUS_BYTES;
use evenkeel_log::{LogOptions, LogWriter, Resume, sim::SimStorage};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::Write;

/// A hub, and one stream in each of its channels.
fn hub(names: &[String]) -> (Arc<Hub>, Vec<(Lane, Stream)>) {
    let hub = Arc::new(Hub::new(names, 1 << 20).unwrap());
    let storage = Arc::new(SimStorage::new());
    let mut log = LogWriter::create(storage, LogOptions::default(), Resume::default(), crate::now()).unwrap();
    let mut numbering = |(channel, name): (usize, &String)| {
        let id = log.channel(name, evenkeel_log::OCTETS);
        let lane = Lane { channel, next_sequence: 1, last_time_ns: 0, on_full: OnFull::Block };
        (lane, Stream::Open(log.stream(id, &[])))
    };
    let numberings = names.iter().enumerate().map(&mut numbering).collect();
    (hub, numberings)
}

fn capture(hub: &Arc<Hub>, lanes: Vec<CaptureLane>) -> Capture {
    let (_, arrivals) = std::sync::mpsc::channel();
    Capture::new(hub.clone(), lanes, arrivals, Box::new(|_| {})).unwrap()
}

// REQ W2, REQ W4
#[test]
fn a_source_without_memory_ends_when_the_intake_is_closed() {
    let (hub, mut numberings) = hub(&["flood".to_owned()]);
    let (flood, mut feed) = io::pipe().unwrap();
    let (lane, stream) = numberings.remove(0);
    let source = CaptureSource::Stream(Pollable::new(flood.into(), stream, Framing::Chunk, 1 << 20));
    let capture = capture(&hub, vec![CaptureLane { lane, source }]);
    let readers = crate::hub::Reading::begin(hub.clone(), vec![0]);
    let reading = std::thread::spawn(move || {
        let _readers = readers;
        Pulse::unwatched(|pulse| capture.run(pulse));
    });
    // Nobody takes anything out: the memory is used up, and more waits than still fits.
    let waiting = feed.try_clone().unwrap();
    let feeding = std::thread::spawn(move || while feed.write_all(&[1; 60_000]).is_ok() {});
    let counts = || hub.counts().remove(0);
    while !hub.capture_waits() || rustix::io::ioctl_fionread(&waiting).unwrap() < 500_000 {
        std::thread::yield_now();
    }
    hub.give_order(Order::StopCapture);
    let ended_after = |wait_ns: u64| {
        let until_ns = crate::now().mono_ns + wait_ns;
        hub.wait_until(until_ns, |state| (state.readers() == 0).then_some(true))
    };
    assert!(!ended_after(50_000_000), "it cannot have read all");
    hub.give_order(Order::Finish);
    let closed = counts();
    assert!(ended_after(10_000_000_000), "it waits for memory for ever");
    reading.join().unwrap();
    feeding.join().unwrap();
    let after = counts();
    assert!(!after.ended);
    assert_eq!(after.accepted_bytes, closed.accepted_bytes);
    assert!(after.refused_records < 8, "one read, and one batch: {after:?}");
}

// REQ E1, REQ W4
#[test]
fn the_fault_of_a_source_outlives_the_others_going_on() {
    let (hub, numberings) = hub(&["broken", "good"].map(str::to_owned));
    let mut numberings = numberings.into_iter();
    let mut pollable = |fd: OwnedFd| {
        let (lane, stream) = numberings.next().unwrap();
        CaptureLane {
            lane,
            source: CaptureSource::Stream(Pollable::new(fd, stream, Framing::Chunk, 1 << 20)),
        }
    };
    // The writing end of a pipe that nobody reads: it is ready, and reading it fails.
    let (unread, broken) = rustix::pipe::pipe().unwrap();
    drop(unread);
    let (good, feed) = rustix::pipe::pipe().unwrap();
    let sources = vec![pollable(broken), pollable(good)];
    let capture = capture(&hub, sources);
    let reading = std::thread::spawn(move || Pulse::unwatched(|pulse| capture.run(pulse)));
    let faulted = |hub: &Hub| hub.counts()[0].fault.is_some();
    while !faulted(&hub) {
        std::thread::yield_now();
    }
    // Every wake-up looks at all sources again, those that have ended too.
    for round in 1..=20 {
        rustix::io::write(&feed, b"x").unwrap();
        hub.wake_capture();
        while hub.counts()[1].accepted_bytes < round {
            std::thread::yield_now();
        }
    }
    drop(feed);
    reading.join().unwrap();
    assert!(faulted(&hub), "the fault was forgotten");
    assert!(hub.counts()[1].ended);
}

/// Whether something comes true before a test has waited for too long.
fn soon(reached: impl Fn() -> bool) -> bool {
    let until_ns = crate::now().mono_ns + 10_000_000_000;
    while !reached() {
        if crate::now().mono_ns > until_ns {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// One channel that is read by a thread.
fn start(hub: &Arc<Hub>, lane: Lane, source: CaptureSource) -> std::thread::JoinHandle<()> {
    let capture = capture(hub, vec![CaptureLane { lane, source }]);
    let readers = crate::hub::Reading::begin(hub.clone(), vec![0]);
    std::thread::spawn(move || {
        let _readers = readers;
        Pulse::unwatched(|pulse| capture.run(pulse));
    })
}

/// A datagram socket, and one that sends to it.
fn datagrams() -> (OwnedFd, std::net::UdpSocket) {
    let socket = crate::listen::udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(&socket.address).unwrap();
    (socket.fd, peer)
}

// REQ W1, REQ R9
#[test]
fn datagrams_that_fill_a_turn_exactly_do_not_wait_for_more() {
    let (hub, mut numberings) = hub(&["gram".to_owned()]);
    let (lane, stream) = numberings.remove(0);
    let (socket, peer) = datagrams();
    for _ in 0..64 {
        peer.send(b"x").unwrap();
    }
    let reading = start(&hub, lane, CaptureSource::Datagrams(Datagrams::new(socket, stream)));
    assert!(soon(|| hub.counts()[0].accepted_records == 64), "{:?}", hub.counts());
    hub.give_order(Order::Finish);
    reading.join().unwrap();
}

// REQ W2, REQ T8
#[test]
fn a_flood_of_small_datagrams_does_not_hold_up_a_stop() {
    let (hub, mut numberings) = hub(&["gram".to_owned()]);
    let (mut lane, stream) = numberings.remove(0);
    let (socket, peer) = datagrams();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 << 10).unwrap();
    let buffered = rustix::net::sockopt::socket_recv_buffer_size(&socket).unwrap();
    let mut gram = Datagrams::new(socket, stream);
    gram.drain();
    let (mut scratch, mut rounds) = (vec![0; PAYLOAD_BYTES_MAX], 0);
    loop {
        // As many as a turn takes: it never finds none.
        (0..64).for_each(|_| _ = peer.send(b"x").unwrap());
        let mut turn = Turn { hub: &hub, lane: &mut lane, scratch: &mut scratch, reads: 4 };
        if gram.serve(&mut turn).unwrap() == Served::Ended {
            break;
        }
        rounds += 1;
        assert!(rounds * 64 * 256 <= buffered, "more than the kernel can have had waiting");
    }
    gram.close(&lane, &hub);
}

/// Takes everything out of a hub, as the log does, and gives the memory back.
fn store(hub: &Hub) {
    for (_, item) in hub.take(0, true, false).items {
        if let crate::hub::Item::Batch(batch) = item {
            let id = batch.stream().channel();
            hub.acknowledged(&[], vec![(id, batch.into_memory())], &|_| Some(0));
        }
    }
}

// REQ W2, REQ T8
#[test]
fn a_pipe_that_had_no_memory_is_not_read_while_it_is_empty() {
    let (hub, mut numberings) = hub(&["short".to_owned()]);
    hub.set_surplus(0);
    let (lane, stream) = numberings.remove(0);
    // Reading it blocks, as it does of most that is inherited.
    let (short, mut feed) = io::pipe().unwrap();
    let pollable = Pollable::new(short.into(), stream, Framing::Lines, 1 << 20);
    // One read of these takes many times its length in memory.
    feed.write_all(&vec![b'\n'; PAYLOAD_BYTES_MAX]).unwrap();
    let reading = start(&hub, lane, CaptureSource::Stream(pollable));
    let waiting = || rustix::io::ioctl_fionread(&feed).unwrap();
    assert!(soon(|| waiting() == 0 && !hub.has_room(0, 32)));
    assert!(hub.counts()[0].accepted_records < PAYLOAD_BYTES_MAX as u64);
    let all = || {
        store(&hub);
        hub.counts()[0].accepted_records == PAYLOAD_BYTES_MAX as u64
    };
    assert!(soon(all), "{:?}", hub.counts());
    // It is told of all the memory that came back, and then has nothing to do.
    store(&hub);
    let is_told = || {
        let mut told = [PollFd::new(hub.capture_wakes(), PollFlags::IN)];
        poll(&mut told, Some(&Timespec::default())).unwrap() == 0
    };
    assert!(soon(is_told));
    hub.give_order(Order::StopCapture);
    assert!(soon(|| !hub.counts()[0].reading), "it waits for its writer");
    reading.join().unwrap();
    store(&hub);
    let counts = hub.counts().remove(0);
    assert_eq!((counts.held_bytes, counts.fault), (0, None));
}

// REQ R9, REQ R4, REQ W4
#[test]
fn who_waits_for_memory_has_handed_over_all_that_holds_some() {
    let kinds = [(Framing::Lines, 5), (Framing::Lines, 700), (Framing::Chunk, 700), (Framing::Chunk, 60_000)];
    // Where the last large batch leaves too little for another read, and is not full.
    let scarce = (6_400_000..6_800_000).step_by(20_000).map(|surplus| (Framing::Lines, 60_000, surplus));
    let plenty = kinds.map(|(framing, line_bytes)| (framing, line_bytes, SURPLUS_BYTES));
    for (framing, line_bytes, surplus) in plenty.into_iter().chain(scarce) {
        let (hub, mut numberings) = hub(&["flood".to_owned()]);
        hub.set_surplus(surplus);
        let (lane, stream) = numberings.remove(0);
        let (flood, mut feed) = io::pipe().unwrap();
        let pollable = Pollable::new(flood.into(), stream, framing, 1 << 20);
        let reading = start(&hub, lane, CaptureSource::Stream(pollable));
        let mut line = vec![b'x'; line_bytes - 1];
        line.push(b'\n');
        let feeding = std::thread::spawn(move || while feed.write_all(&line).is_ok() {});
        // Otherwise it could wait for ever, for nobody else can hand it over.
        let held = || hub.counts()[0].held_bytes;
        let is_queued = || hub.capture_waits() && hub.queued_memory(0) == held();
        assert!(
            soon(is_queued),
            "{framing:?} {line_bytes} {surplus}: {} of {}",
            hub.queued_memory(0),
            held()
        );
        hub.give_order(Order::Finish);
        reading.join().unwrap();
        feeding.join().unwrap();
    }
}

// REQ W2, REQ T8
#[test]
fn bytes_that_another_reader_took_are_not_waited_for() {
    let (hub, mut numberings) = hub(&["shared".to_owned()]);
    let (mut lane, stream) = numberings.remove(0);
    let (shared, feed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let other = shared.try_clone().unwrap();
    rustix::io::write(&feed, b"0123456789").unwrap();
    let mut pollable = Pollable::new(shared, stream, Framing::Chunk, 1 << 20);
    pollable.drain();
    rustix::io::read(&other, &mut [0; 10]).unwrap();
    let mut scratch = vec![0; PAYLOAD_BYTES_MAX];
    let mut turn = Turn { hub: &hub, lane: &mut lane, scratch: &mut scratch, reads: 4 };
    let served = [pollable.serve(&mut turn).unwrap(), pollable.serve(&mut turn).unwrap()];
    assert!(served.contains(&Served::Ended), "it would be served again and again: {served:?}");
}

/// A channel that listens, and the log that its ids come from.
fn listening(hub_of: &[String]) -> (Arc<Hub>, Lane, Opening) {
    let hub = Arc::new(Hub::new(hub_of, 1 << 20).unwrap());
    let storage = Arc::new(SimStorage::new());
    let mut log = LogWriter::create(storage, LogOptions::default(), Resume::default(), crate::now()).unwrap();
    let id = log.channel("net", evenkeel_log::OCTETS);
    let opening = Opening {
        ids: log.stream_ids(),
        id,
        framing: Framing::Chunk,
        peer: String::new(),
        pipe_bytes: 1 << 20,
    };
    let lane = Lane { channel: 0, next_sequence: 1, last_time_ns: 0, on_full: OnFull::Block };
    (hub, lane, opening)
}

// REQ W2
#[test]
fn who_has_connected_and_spoken_when_the_stop_comes_is_heard() {
    let (hub, lane, opening) = listening(&["net".to_owned()]);
    let socket = crate::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let peers: Vec<_> = (0..40)
        .map(|_| {
            let mut peer = std::net::TcpStream::connect(&socket.address).unwrap();
            peer.write_all(b"spoken").unwrap();
            peer
        })
        .collect();
    // The stop is there before the thread has looked for the first time.
    hub.give_order(Order::StopCapture);
    let reading = start(&hub, lane, CaptureSource::Listener(Listener::new(socket), opening));
    reading.join().unwrap();
    let counts = hub.counts().remove(0);
    assert_eq!((counts.accepted_bytes, counts.reading), (6 * peers.len() as u64, false));
}

// REQ W1, REQ E2
#[test]
fn a_listener_that_failed_has_not_ended_what_is_connected() {
    let (hub, lane, opening) = listening(&["net".to_owned()]);
    let socket = crate::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut peer = std::net::TcpStream::connect(&socket.address).unwrap();
    let same = socket.fd.try_clone().unwrap();
    let reading = start(&hub, lane, CaptureSource::Listener(Listener::new(socket), opening));
    let counts = || hub.counts().remove(0);
    peer.write_all(b"before").unwrap();
    assert!(soon(|| counts().accepted_bytes == 6));
    rustix::net::shutdown(&same, rustix::net::Shutdown::Both).unwrap();
    assert!(soon(|| counts().fault.is_some()), "nobody can connect any more, and nobody is told");
    assert!(!counts().ended && counts().reading, "its connection is open: a crash would leave no gap");
    peer.write_all(b"after").unwrap();
    assert!(soon(|| counts().accepted_bytes == 11));
    drop(peer);
    reading.join().unwrap();
    assert!(counts().ended && counts().fault.is_some() && !counts().reading);
}

// REQ R4, REQ W4
#[test]
fn a_listener_with_as_many_as_it_may_have_goes_on_when_one_ends() {
    let socket = crate::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let _peer = std::net::TcpStream::connect(&socket.address).unwrap();
    let mut listener = Listener::new(socket);
    listener.open = 1024;
    assert!(listener.serve().unwrap().is_empty() && listener.is_paused());
    assert!(!listener.resume());
    listener.open -= 1;
    assert!(listener.resume() && !listener.is_paused());
    assert_eq!((listener.serve().unwrap().len(), listener.open), (1, 1024));
}

// REQ W1, REQ R9
#[test]
fn packets_are_whole_however_many_flood() {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
    let (hub, mut numberings) = hub(&["packets".to_owned()]);
    let (mut lane, stream) = numberings.remove(0);
    let seqpacket = SocketType::SEQPACKET;
    let (ours, peer) = socketpair(AddressFamily::UNIX, seqpacket, SocketFlags::empty(), None).unwrap();
    let mut pollable = Pollable::new(ours, stream, Framing::Lines, 1 << 20);
    let mut scratch = vec![0; PAYLOAD_BYTES_MAX];
    let packet = b"y\n".repeat(15_000);
    let packets = 3;
    for _ in 0..packets {
        assert_eq!(send(&peer, &packet, SendFlags::empty()).unwrap(), packet.len());
        // Short lines, and three that are ready at once.
        let mut turn = Turn { hub: &hub, lane: &mut lane, scratch: &mut scratch, reads: 5 };
        assert!(turn.is_crowded());
        for _ in 0..3 {
            assert_eq!(pollable.serve(&mut turn).unwrap(), Served::More);
        }
    }
    assert_eq!(hub.counts()[0].accepted_bytes, (packets * packet.len()) as u64);
}

// REQ R5, REQ R9
#[test]
fn nothing_is_dropped_to_make_room_for_an_end() {
    let (hub, mut numberings) = hub(&["short".to_owned()]);
    hub.set_before(0, &evenkeel_log::ChannelState::default(), (Durability::Disk, OnFull::DropOldest));
    hub.set_surplus(0);
    let (lane, stream) = numberings.remove(0);
    let mut lane = Lane { on_full: OnFull::DropOldest, ..lane };
    let (short, mut feed) = io::pipe().unwrap();
    let mut pollable = Pollable::new(short.into(), stream, Framing::Chunk, 1 << 20);
    let mut scratch = vec![0; PAYLOAD_BYTES_MAX];
    let mut serve = |lane: &mut Lane| {
        let mut turn = Turn { hub: &hub, lane, scratch: &mut scratch, reads: 4 };
        pollable.serve(&mut turn).unwrap()
    };
    // So much that more of it is expected; it fills what there is.
    feed.write_all(&[b'x'; 40_000]).unwrap();
    assert_eq!(serve(&mut lane), Served::More);
    drop(feed);
    assert_eq!(serve(&mut lane), Served::Ended);
    let counts = hub.counts().remove(0);
    assert_eq!((counts.accepted_bytes, counts.dropped_bytes), (40_000, 0), "{counts:?}");
}

// REQ W1, REQ W4
#[test]
fn many_that_flood_with_long_lines_are_read_to_their_end() {
    let names: Vec<String> = (0..5).map(|n| format!("flood-{n}")).collect();
    let (hub, numberings) = hub(&names);
    // A medium buffer holds more of these than one read brings.
    let sent = [&[b'x'; 999][..], b"\n"].concat().repeat(300);
    let lanes = numberings.into_iter().map(|(lane, stream)| {
        let (flood, mut feed) = io::pipe().unwrap();
        let pollable = Pollable::new(flood.into(), stream, Framing::Lines, 1 << 20);
        feed.write_all(&sent).unwrap();
        CaptureLane { lane, source: CaptureSource::Stream(pollable) }
    });
    let capture = capture(&hub, lanes.collect());
    Pulse::unwatched(|pulse| capture.run(pulse));
    for counts in hub.counts() {
        assert_eq!((counts.accepted_records, counts.accepted_bytes), (300, sent.len() as u64), "{counts:?}");
        assert_eq!(counts.fault, None);
    }
}
