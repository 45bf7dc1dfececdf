//! Every storage operation of a small recording fails, once or for ever.

use super::*;
use evenkeel_log::sim::Faults;
use evenkeel_log::{BALLAST_NAME, recover};
use std::collections::BTreeMap;
use std::io::{ErrorKind, PipeReader, Read};

const NAMES: [(&str, bool, Framing); 2] = [("polled", true, Framing::Lines), ("read", false, Framing::Chunk)];
const ROUNDS: usize = 6;
const ROUND_BYTES: usize = 2_000;

/// Small enough to rotate on the way.
fn options() -> LogOptions {
    LogOptions { ballast_bytes: 6_000, chunk_bytes: 700, segment_bytes: 6_000, ..LogOptions::default() }
}

struct Ran {
    ending: Ending,
    /// Bytes by channel.
    acknowledged: BTreeMap<String, u64>,
    given_up: bool,
    /// Names of the files when the stop was over.
    files: Vec<String>,
}

/// Feeds both channels round by round, each one acknowledged before the next
/// where the disk lets it; then stops. `None` when it could not start.
fn run(storage: &SimStorage, context: &str) -> Option<Ran> {
    let (told, acks) = io::pipe().unwrap();
    let (recorder, mut feeds) = start(storage, &NAMES, options(), Some(OwnedFd::from(acks).into())).ok()?;
    for round in 0..ROUNDS {
        for feed in &mut feeds {
            feed.write_all(&sent(round * ROUND_BYTES, ROUND_BYTES)).unwrap();
        }
        let all = ((round + 1) * ROUND_BYTES) as u64;
        // What is carried of a line is not accepted yet.
        let done = || recorder.channels().iter().all(|c| c.is_settled() && c.accepted_bytes + 100 > all);
        eventually(context, || done() || recorder.trouble().is_some());
    }
    // One channel ends by itself, the other is stopped.
    drop(feeds.pop());
    assert!(recorder.wait_captured(1, long_ns()), "{context}: a channel at its end is read on");
    let until_ns = long_ns();
    let ending = recorder.stop(until_ns);
    let settled = recorder.channels().iter().all(ChannelCounts::is_settled);
    assert!(settled || !recorder.wait_finished(0), "{context}: that is no end: {ending:#?}");
    let files: Vec<String> = storage.list().unwrap().into_iter().map(|e| e.name).collect();
    let last = files.iter().filter(|name| name.contains(".mcap")).max();
    let sealed = last.is_some_and(|name| name.ends_with(".mcap"));
    assert!(sealed || recorder.verify_last().is_err(), "{context}: {last:?} is not sealed");
    assert!(crate::now().mono_ns < until_ns, "{context}: the stop was held up: {ending:#?}");
    assert_eq!(ending.faults, ending_faults(&recorder, &ending), "{context}: told again, it says the same");
    let given_up = !recorder.hub.log_status().given_up.is_empty();
    drop((recorder, feeds));
    Some(Ran { ending, acknowledged: last_acks(told), given_up, files })
}

/// A second stop of what is stopped changes nothing; one that could not seal may try again.
fn ending_faults(recorder: &Recorder, first: &Ending) -> Vec<String> {
    if first.clean { recorder.stop(long_ns()).faults } else { first.faults.clone() }
}

fn last_acks(mut told: PipeReader) -> BTreeMap<String, u64> {
    let mut text = String::new();
    told.read_to_string(&mut text).unwrap();
    let mut last = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let bytes = words[2].parse().unwrap();
        let before = last.insert(words[0].to_owned(), bytes);
        assert!(before <= Some(bytes), "acknowledgements go back");
    }
    last
}

fn check(storage: &SimStorage, ran: &Ran, rng: &mut Rng, context: &str) {
    let Ran { ending, acknowledged, .. } = ran;
    for counts in &ending.channels {
        let acked = acknowledged.get(&counts.name).copied().unwrap_or(0);
        assert!(acked <= counts.committed_bytes, "{context}: {counts:?}");
        if ending.clean {
            assert!(counts.is_settled() && counts.dropped_records == 0, "{context}: {counts:?}");
            assert_eq!(acked, counts.accepted_bytes, "{context}: the last acknowledgement tells all");
            assert_eq!(counts.accepted_bytes, (ROUNDS * ROUND_BYTES) as u64, "{context}");
            assert_eq!(exported(storage, &counts.name, context), (counts.accepted_bytes, false), "{context}");
        }
    }
    if ending.clean {
        let verification = verify(storage, false, None).unwrap();
        assert_eq!(verification.outcome, Outcome::Intact, "{context}: {verification:#?}");
    }
    // Whatever became of the stop: what was acknowledged outlives the process and a power cut.
    for image in [storage.kill(), storage.crash(rng)] {
        let shared: Arc<dyn Storage> = Arc::new(image.clone());
        let recovery = recover(&shared, crate::now()).unwrap();
        assert!(!recovery.is_loss(), "{context}: {recovery:#?}");
        for (name, acked) in acknowledged {
            let (stored, damaged) = exported(&image, name, context);
            assert!(!damaged, "{context}: {name} is damaged");
            assert!(stored >= *acked, "{context}: {name}: {acked} bytes acknowledged, {stored} there");
        }
    }
}

/// One operation after the other fails, until there is none left.
fn fail_each(kind: Option<ErrorKind>, for_ever: bool) {
    let mut rng = Rng::with_seed(1);
    let (mut clean, mut given_up, mut at) = (0, 0, 0);
    loop {
        let context = format!("operation {at} fails with {kind:?}, for ever: {for_ever}");
        let storage = SimStorage::new();
        storage.set_faults(Faults { at: Some(at), for_ever, kind, ..Faults::default() });
        let ran = run(&storage, &context);
        let reached = storage.operations() > at;
        storage.set_faults(Faults::default());
        if let Some(ran) = ran {
            check(&storage, &ran, &mut rng, &context);
            clean += u64::from(ran.ending.clean);
            given_up += u64::from(ran.given_up);
            let ballast = ran.files.iter().any(|name| name == BALLAST_NAME);
            assert!(reached || !ballast, "{context}: the ballast stayed");
            // What fails once is made good.
            assert!((reached && for_ever) || ran.ending.clean, "{context}: {:#?}", ran.ending);
        }
        at += 1;
        if !reached {
            break;
        }
    }
    assert!(at > 40, "the workload has too few operations: {at}");
    assert!(clean > 0 && given_up > 0, "{clean} clean, {given_up} gave a segment up");
}

// REQ Q2, REQ W2, REQ W3
#[test]
fn a_failing_operation_loses_nothing_acknowledged() {
    fail_each(None, false);
}

// REQ Q2, REQ W2, REQ W3
#[test]
fn a_disk_that_fails_for_ever_loses_nothing_acknowledged() {
    fail_each(None, true);
}

// REQ Q2, REQ W2, REQ W3
#[test]
fn a_disk_that_is_full_for_a_moment_loses_nothing_acknowledged() {
    fail_each(Some(ErrorKind::StorageFull), false);
}

// REQ Q2, REQ W2, REQ W3
#[test]
fn a_disk_that_is_full_for_ever_loses_nothing_acknowledged() {
    fail_each(Some(ErrorKind::StorageFull), true);
}
