//! Sources without memory, with faults, and many of them at once.

use super::*;
use crate::config::OnFull;
use evenkeel_log::{Batch, LogOptions, LogWriter, Resume, sim::SimStorage};
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
    let source = CaptureSource::Stream(Pollable::new(flood.into(), stream, Framing::Chunk));
    let capture = capture(&hub, vec![CaptureLane { lane, source }]);
    let readers = crate::hub::Reading::begin(hub.clone(), vec![0]);
    let reading = std::thread::spawn(move || {
        let _readers = readers;
        capture.run();
    });
    // Nobody takes anything out: the memory is used up, and more waits than still fits.
    let waiting = feed.try_clone().unwrap();
    let feeding = std::thread::spawn(move || while feed.write_all(&[1; 60_000]).is_ok() {});
    let counts = || hub.counts().remove(0);
    let least = Batch::bytes_for(PAYLOAD_BYTES_MAX);
    while hub.has_room(0, least) || rustix::io::ioctl_fionread(&waiting).unwrap() < 500_000 {
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
        CaptureLane { lane, source: CaptureSource::Stream(Pollable::new(fd, stream, Framing::Chunk)) }
    };
    // The writing end of a pipe that nobody reads: it is ready, and reading it fails.
    let (unread, broken) = rustix::pipe::pipe().unwrap();
    drop(unread);
    let (good, feed) = rustix::pipe::pipe().unwrap();
    let sources = vec![pollable(broken), pollable(good)];
    let capture = capture(&hub, sources);
    let reading = std::thread::spawn(move || capture.run());
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
