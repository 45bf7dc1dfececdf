//! Old segments are removed: what was told of is not missed, all else is.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::connections::{Connections, Model, check_image, compare, options};
use common::driver::{Driver, Originals, parse_told, quiet_options, told_options};
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_log::{
    Action, Anchor, Gap, LogOptions, Outcome, SealedFile, Selection, export, part_name, recover,
    remove_segments, seal_given_up, sealed_name, sealed_segments, verify, verify_with,
};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Segments of `recording`.
const SEGMENTS: u64 = 5;
/// The last segment that the channel `early` has anything in.
const EARLY: u64 = 2;

/// Five segments: `left` is in all of them, `early` in the first two, `late` in the last
/// two; each but `early` with a declared gap in every segment. Sealed, or left by a crash.
fn recording(seed: u64, is_ended: bool) -> (SimStorage, Driver) {
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), told_options());
    let mut rng = Rng::with_seed(seed);
    for number in 1..=SEGMENTS {
        let names: &[&str] = match number {
            1..=EARLY => &["left", "early"],
            3 => &["left"],
            _ => &["left", "late"],
        };
        for name in names {
            driver.stream(name);
            for _ in 0..rng.usize(1..20) {
                driver.append_told(name, 100, &mut rng);
            }
            if *name != "early" {
                driver.gap(name, 2);
            }
        }
        driver.commit_sync();
        if number < SEGMENTS {
            driver.rotate();
        }
    }
    if is_ended {
        driver.end_sources();
        assert!(driver.finish());
    }
    (storage, driver)
}

fn shared(storage: &SimStorage) -> Arc<dyn Storage> {
    Arc::new(storage.clone())
}

fn exported(storage: &SimStorage, name: &str, originals: &Originals) -> Vec<u64> {
    let selection = Selection { channel: name.to_owned(), stream: None, segment: None };
    let mut out = Vec::new();
    let told = export(storage, &selection, &mut out).unwrap();
    assert!(told.known && !told.damaged, "{name}: {told:?}");
    parse_told(name, &out, originals)
}

fn outcome(storage: &SimStorage, anchor: Option<&Anchor>) -> Outcome {
    verify(storage, false, anchor).unwrap().outcome
}

/// What was sent beyond the anchor, and nothing else.
fn has_the_rest(storage: &SimStorage, driver: &Driver, anchor: &Anchor) {
    for (name, sent) in &driver.sent {
        let removed = anchor.channels.get(name).copied().unwrap_or(0);
        let rest: Vec<u64> = sent.keys().copied().filter(|sequence| *sequence > removed).collect();
        assert_eq!(exported(storage, name, &driver.sent), rest, "{name}, {anchor:?}");
    }
}

// REQ W3, REQ W5
#[test]
fn what_was_told_of_is_not_missed_and_all_else_is() {
    let (whole, driver) = recording(1, true);
    let everything = verify(&whole, false, None).unwrap();
    assert_eq!((everything.outcome, everything.gaps.len()), (Outcome::Declared, 7));
    for through in 1..SEGMENTS {
        let storage = whole.kill();
        let anchor = Anchor::at(&storage, through).unwrap();
        assert_eq!(outcome(&storage, Some(&anchor)), Outcome::Declared, "told, and not done");
        remove_segments(&storage, through).unwrap();
        remove_segments(&storage, through).unwrap();
        let rest = verify(&storage, false, Some(&anchor)).unwrap();
        assert_eq!(rest.outcome, Outcome::Declared, "{rest:#?}");
        assert!(rest.findings.is_empty() && rest.channels.iter().all(|c| c.missing.is_empty()));
        let names = rest.segments.iter().map(|s| &s.name);
        assert!(names.eq(everything.segments[through as usize..].iter().map(|s| &s.name)));
        has_the_rest(&storage, &driver, &anchor);
        // Not told of, it is loss, which names what is gone.
        let untold = verify(&storage, false, None).unwrap();
        assert_eq!(untold.outcome, Outcome::Loss);
        let left = anchor.channels["left"];
        assert!(untold.findings.contains(&format!("left: sequences 1 to {left} are missing")));
        if through == 1 {
            continue;
        }
        // One segment more than was told of.
        let less = Anchor::at(&whole, through - 1).unwrap();
        let beyond = verify(&storage, false, Some(&less)).unwrap();
        assert_eq!(beyond.outcome, Outcome::Loss, "{less:?}");
        let from = less.channels["left"] + 1;
        assert!(
            beyond.findings.contains(&format!("left: sequences {from} to {left} are missing")),
            "{beyond:#?}"
        );
    }
}

// REQ W3, REQ W5
#[test]
fn a_segment_in_the_middle_is_missed_whatever_was_told() {
    let (whole, _) = recording(2, true);
    for gone in 2..SEGMENTS {
        let storage = whole.kill();
        storage.remove(&sealed_name(gone)).unwrap();
        let anchor = Anchor::at(&whole, SEGMENTS - 1).unwrap();
        assert_eq!(
            outcome(&storage, Some(&anchor)),
            Outcome::Loss,
            "the first is still there, {gone} is not"
        );
    }
}

// REQ W3, REQ W5
#[test]
fn a_removal_that_failed_and_goes_on_leaves_no_hole_whenever_it_crashes() {
    let (whole, _) = recording(3, true);
    let anchor = Anchor::at(&whole, SEGMENTS - 1).unwrap();
    let mut failed = 0;
    for (at, seed) in (0..12).flat_map(|at| (0..8).map(move |seed| (at, seed))) {
        let storage = whole.kill();
        storage.set_faults(Faults { at: Some(storage.operations() + at), ..Faults::default() });
        failed += u64::from(remove_segments(&storage, SEGMENTS - 2).is_err());
        storage.set_faults(Faults::default());
        storage.watch(Rng::with_seed(seed));
        remove_segments(&storage, SEGMENTS - 1).unwrap();
        for image in storage.take_images() {
            let rest = verify(&image, false, Some(&anchor)).unwrap();
            assert_eq!(rest.outcome, Outcome::Declared, "operation {at} failed: {rest:#?}");
        }
    }
    assert!(failed > 20, "{failed} failed");
}

// REQ W3, REQ W5
#[test]
fn a_copy_that_is_superseded_makes_up_for_nothing() {
    let storage = SimStorage::new();
    let mut driver = Driver::new(shared(&storage), told_options());
    let mut rng = Rng::with_seed(1);
    driver.stream("left");
    driver.append_told("left", 50, &mut rng);
    driver.commit_sync();
    driver.append_told("left", 50, &mut rng);
    // A sync fails, then a write: the second message is in the first segment and in the third,
    // and the second segment has but a beginning, which makes the first copy void.
    driver.commit();
    for _ in 0..2 {
        storage.set_faults(Faults { at: Some(storage.operations()), ..Faults::default() });
        driver.commit_sync();
    }
    // Were this the end, nobody was promised more than the first.
    let killed = storage.kill();
    recover(&shared(&killed), stamp(1 << 40)).unwrap();
    assert_eq!(outcome(&killed, None), Outcome::Declared);
    assert_eq!(exported(&killed, "left", &driver.sent), [1]);
    driver.now += 10_000_000_000;
    driver.writer.retry(stamp(driver.now));
    driver.commit_sync();
    driver.rotate();
    driver.append_told("left", 50, &mut rng);
    driver.end_sources();
    assert!(driver.finish());
    for number in [1, 2] {
        seal_given_up(&shared(&storage), number, stamp(1 << 40)).unwrap();
    }
    assert_eq!(outcome(&storage, None), Outcome::Intact);
    assert_eq!(exported(&storage, "left", &driver.sent), [1, 2, 3]);
    storage.remove(&sealed_name(3)).unwrap();
    let verification = verify(&storage, false, None).unwrap();
    assert_eq!(verification.findings, ["left: sequences 2 to 2 are missing"]);
    assert_eq!(verification.outcome, Outcome::Loss);
}

// REQ W3
#[test]
fn a_channel_that_is_only_in_removed_segments_is_known_and_not_missed() {
    let (storage, driver) = recording(3, true);
    let anchor = Anchor::at(&storage, EARLY).unwrap();
    assert_eq!(anchor.channels["early"], driver.sent["early"].len() as u64);
    assert!(!anchor.channels.contains_key("late"), "nothing of it was removed");
    remove_segments(&storage, EARLY).unwrap();
    let verification = verify(&storage, false, Some(&anchor)).unwrap();
    let early = verification.channels.iter().find(|c| c.name == "early").unwrap();
    assert_eq!((early.records, early.last_sequence, early.missing.len()), (0, anchor.channels["early"], 0));
    assert!(exported(&storage, "early", &driver.sent).is_empty());
}

// REQ W1, REQ W3
#[test]
fn a_shortened_recording_is_recovered_and_goes_on() {
    for is_ended in [false, true] {
        let (whole, driver) = recording(4, is_ended);
        let (whole_kept, storage) = (whole.kill(), whole.kill());
        let through = SEGMENTS - 1;
        let anchor = Anchor::at(&storage, through).unwrap();
        remove_segments(&storage, through).unwrap();
        let recovery = recover(&shared(&storage), stamp(1 << 40)).unwrap();
        let expected = recover(&shared(&whole_kept), stamp(1 << 40)).unwrap();
        assert_eq!(recovery, expected, "what was removed is not needed to go on");
        assert_eq!(recovery.segments.is_empty(), is_ended);
        has_the_rest(&storage, &driver, &anchor);
        assert_eq!(outcome(&storage, Some(&anchor)), Outcome::Declared);

        // The next run counts on, and what it writes can be removed with an anchor of its own.
        let mut run = Driver::resume(shared(&storage), quiet_options(), recovery.resume, 1 << 41);
        for gap in &recovery.undeclared {
            run.writer.declare(gap, stamp(1 << 41));
        }
        run.stream("left");
        let mut rng = Rng::with_seed(5);
        run.append_told("left", 50, &mut rng);
        assert_eq!(
            run.sent["left"].keys().next(),
            driver.sent["left"].keys().last().map(|last| last + 3).as_ref()
        );
        run.commit_sync();
        run.rotate();
        let before = storage.kill();
        let next = Anchor::at(&storage, SEGMENTS).unwrap();
        remove_segments(&storage, SEGMENTS).unwrap();
        run.end_sources();
        assert!(run.finish());
        assert!(outcome(&storage, Some(&next)) <= Outcome::Declared);
        assert_eq!(outcome(&storage, Some(&anchor)), Outcome::Loss, "the last anchor counts");
        assert!(outcome(&before, Some(&next)) <= Outcome::Declared);
    }
}

// REQ W3
#[test]
fn the_newest_segment_stays() {
    let (ended, _) = recording(6, true);
    let (open, _) = recording(6, false);
    for (storage, through) in
        [(&ended, SEGMENTS), (&ended, u64::MAX), (&open, SEGMENTS), (&open, SEGMENTS + 1)]
    {
        let before = storage.list().unwrap();
        assert_eq!(remove_segments(storage, through).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Anchor::at(storage, through).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(storage.list().unwrap(), before);
    }
    // A file in which nothing was ever committed is no segment that could stay alone.
    ended.put(&part_name(SEGMENTS + 1), b"\x89MCAP0\r\n".to_vec());
    assert_eq!(remove_segments(&ended, SEGMENTS).unwrap_err().kind(), ErrorKind::InvalidInput);
    let nothing = SimStorage::new();
    assert_eq!(remove_segments(&nothing, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    remove_segments(&open, SEGMENTS - 1).unwrap();
    assert_eq!(open.list().unwrap().len(), 1);
}

// REQ W3
#[test]
fn nothing_is_removed_up_to_a_segment_that_is_not_sealed() {
    let (storage, _) = recording(7, true);
    storage.rename(&sealed_name(3), &part_name(3)).unwrap();
    let before = storage.list().unwrap();
    assert_eq!(remove_segments(&storage, 3).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(storage.list().unwrap(), before);
    // A sealed one after it says that it was given up.
    remove_segments(&storage, 4).unwrap();
    assert_eq!(storage.list().unwrap().len(), 1);
    let sealed = seal_given_up(&shared(&storage), 3, stamp(1 << 40)).unwrap();
    assert_eq!((sealed.action, sealed.losses.len()), (Action::Removed, 0));
    assert_eq!(storage.list().unwrap().len(), 1);
}

// REQ W3
#[test]
fn a_damaged_beginning_says_not_where_channels_stood() {
    let (storage, _) = recording(8, true);
    storage.corrupt(&sealed_name(4), 200, 0xFF);
    let before = storage.list().unwrap();
    assert_eq!(Anchor::at(&storage, 3).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(remove_segments(&storage, 3).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(storage.list().unwrap(), before);
    assert!(Anchor::at(&storage, 2).is_ok() && Anchor::at(&storage, 4).is_ok());
}

// REQ W1
#[test]
fn sealed_segments_are_listed_with_all_their_files_and_their_end() {
    let (storage, _) = recording(9, false);
    let before = sealed_segments(&storage).unwrap();
    assert_eq!(before.iter().map(|s| s.number).collect::<Vec<_>>(), [1, 2, 3, 4], "the newest is not sealed");
    assert!(before.windows(2).all(|pair| pair[0].ended_wall_ns < pair[1].ended_wall_ns));
    assert!(
        before.iter().all(|s| s.ended_wall_ns > stamp(0).wall_ns && s.ended_wall_ns < stamp(1 << 40).wall_ns)
    );
    let length = |name: &str| storage.content(name).unwrap().len() as u64;
    assert!(before.iter().all(|s| s.bytes == length(&sealed_name(s.number))));
    storage.put("000002.tail", vec![1; 10]);
    storage.put("000002.damaged", vec![1; 100]);
    storage.put("000007.tail", vec![1; 100]);
    let end = length(&sealed_name(3));
    storage.corrupt(&sealed_name(3), end - 1, 1);
    storage.corrupt(&sealed_name(4), end, 1);
    let [first, second, third, fourth] = sealed_segments(&storage).unwrap()[..] else { panic!() };
    assert_eq!(first, before[0]);
    assert_eq!(second, SealedFile { bytes: before[1].bytes + 110, ..before[1] });
    assert_eq!(third.ended_wall_ns, before[3].ended_wall_ns, "no younger than the one after it");
    assert_eq!(fourth, before[3]);
    let end = length(&sealed_name(4));
    storage.corrupt(&sealed_name(4), end - 1, 1);
    assert_eq!(sealed_segments(&storage).unwrap()[3].ended_wall_ns, u64::MAX, "nobody knows");
}

// REQ W5
#[test]
fn an_anchor_reads_back_out_of_its_entry() {
    let anchor = Anchor { through: 12, channels: BTreeMap::from([("left".to_owned(), u64::MAX)]) };
    let body = anchor.entry(3, 1 << 30, "bytes");
    assert_eq!(Anchor::from_entry(&body), Some(anchor));
    let text = r#"{"bytes":1073741824,"channels":{"left":18446744073709551615},"segments":3,"through":12,"why":"bytes"}"#;
    assert_eq!(body.to_string(), text);
    for other in [r#"{"omitted_bytes":9}"#, r#"{"through":1}"#, r#"{"through":-1,"channels":{}}"#, "3"] {
        assert_eq!(Anchor::from_entry(&serde_json::from_str(other).unwrap()), None, "{other}");
    }
}

/// A recording whose first segments are removed when it is opened for the n-th time.
struct Shrinking {
    storage: SimStorage,
    opened: AtomicU64,
    at: u64,
    through: u64,
    anchor: Anchor,
}

impl Shrinking {
    fn told(&self) -> Option<Anchor> {
        (self.opened.load(Ordering::Relaxed) > self.at).then(|| self.anchor.clone())
    }
}

impl Storage for Shrinking {
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        if self.opened.fetch_add(1, Ordering::Relaxed) == self.at {
            remove_segments(&self.storage, self.through)?;
        }
        self.storage.open(name)
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.storage.list()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }
    fn create(&self, _: &str) -> io::Result<Box<dyn AppendFile>> {
        unreachable!("it is only read")
    }
    fn reopen(&self, _: &str) -> io::Result<Box<dyn AppendFile>> {
        unreachable!("it is only read")
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        unreachable!("it is only read")
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        unreachable!("it is only read")
    }
    fn sync_dir(&self) -> io::Result<()> {
        unreachable!("it is only read")
    }
}

// REQ W3, REQ W5
#[test]
fn what_is_removed_meanwhile_is_not_missed() {
    let (whole, driver) = recording(11, false);
    let mut told = BTreeSet::new();
    for through in 1..SEGMENTS {
        for at in 0..=2 * SEGMENTS {
            let anchor = Anchor::at(&whole, through).unwrap();
            let shrinking = || {
                let (opened, anchor) = (AtomicU64::new(0), anchor.clone());
                Shrinking { storage: whole.kill(), opened, at, through, anchor }
            };
            let storage = shrinking();
            let verification = verify_with(&storage, true, &mut || Ok(storage.told())).unwrap();
            told.insert(storage.told().is_some());
            let context = format!("through {through} at {at}: {verification:#?}");
            assert_eq!(
                (verification.outcome, verification.findings.len()),
                (Outcome::Declared, 0),
                "{context}"
            );
            // What is exported is in order; a hole in the middle is told.
            let (storage, mut out) = (shrinking(), Vec::new());
            let selection = Selection { channel: "left".to_owned(), stream: None, segment: None };
            let exported = export(&storage, &selection, &mut out).unwrap();
            let found = parse_told("left", &out, &driver.sent);
            let all: Vec<u64> = driver.sent["left"].keys().copied().filter(|s| *s >= found[0]).collect();
            assert_eq!(exported.damaged, found != all, "through {through} at {at}");
        }
    }
    assert_eq!(told.len(), 2);
}

/// Sequences of `left` that are exported, whether all is well or not.
fn left(storage: &SimStorage, originals: &Originals) -> Vec<u64> {
    let selection = Selection { channel: "left".to_owned(), stream: None, segment: None };
    let mut out = Vec::new();
    export(storage, &selection, &mut out).unwrap();
    parse_told("left", &out, originals)
}

/// What a removal may leave of `whole`: recovered, no more is gone than was told of, and
/// nothing is found that `whole` has not.
fn is_shortened_at_most(
    image: &SimStorage,
    whole: &SimStorage,
    originals: &Originals,
    anchor: &Anchor,
    context: &str,
) {
    let recovery = recover(&shared(image), stamp(1 << 40)).unwrap();
    assert!(recovery.segments.is_empty(), "{context}: {recovery:?}");
    let (before, after) =
        (verify(whole, false, Some(anchor)).unwrap(), verify(image, false, Some(anchor)).unwrap());
    assert!(after.outcome <= before.outcome, "{context}: {after:#?}");
    assert!(after.findings.iter().all(|finding| before.findings.contains(finding)), "{context}: {after:#?}");
    let begins = Anchor::at(image, 0).unwrap().channels;
    let begins = begins.get("left").copied().unwrap_or(0);
    assert!(begins <= anchor.channels["left"], "{context}");
    let expected: Vec<u64> = left(whole, originals).into_iter().filter(|s| *s > begins).collect();
    assert_eq!(left(image, originals), expected, "{context}");
}

// REQ W3, REQ Q2
#[test]
fn a_crash_at_any_operation_of_a_removal_leaves_what_was_told() {
    let mut images = 0;
    for seed in 0..40 {
        let (storage, driver) = recording(seed, true);
        let mut rng = Rng::with_seed(seed);
        // A segment that was rebuilt, and one with a tail: both have files beside them.
        let rebuilt = rng.u64(1..SEGMENTS);
        let length = storage.content(&sealed_name(rebuilt)).unwrap().len() as u64;
        storage.corrupt(&sealed_name(rebuilt), length / 2, 1);
        storage.corrupt(&sealed_name(rebuilt), length - 1, 1);
        assert!(recover(&shared(&storage), stamp(1 << 39)).unwrap().is_loss());
        storage.put("000001.tail", vec![7; 20]);
        for through in 1..SEGMENTS {
            let anchor = Anchor::at(&storage, through).unwrap();
            let removing = storage.kill();
            removing.watch(rng.fork());
            remove_segments(&removing, through).unwrap();
            let names = removing.list().unwrap().into_iter().map(|e| e.name);
            let numbers = names.map(|name| name[..6].parse::<u64>().unwrap());
            assert!(numbers.into_iter().all(|number| number > through), "something beside them is left");
            let mut all = removing.take_images();
            all.extend([removing.crash(&mut rng), storage.kill()]);
            for image in all {
                images += 1;
                is_shortened_at_most(
                    &image,
                    &storage,
                    &driver.sent,
                    &anchor,
                    &format!("seed {seed}, through {through}, image {images}"),
                );
            }
            // Refused anywhere, and begun again.
            for at in 0..removing.operations() {
                let refused = storage.kill();
                refused.set_faults(Faults { at: Some(at), ..Faults::default() });
                assert!(remove_segments(&refused, through).is_err());
                let context = format!("seed {seed}, through {through}, operation {at} refused");
                is_shortened_at_most(&refused.crash(&mut rng), &storage, &driver.sent, &anchor, &context);
                remove_segments(&refused, through).unwrap();
                let left = refused.crash(&mut rng);
                assert!(sealed_segments(&left).unwrap().iter().all(|s| s.number > through), "{context}");
                is_shortened_at_most(&left, &storage, &driver.sent, &anchor, &context);
            }
        }
    }
    eprintln!("{images} crash images");
    assert!(images > 1000);
}

fn begin(rng: &mut Rng, steps: std::ops::Range<u32>) -> Connections {
    let options = LogOptions { segment_bytes: rng.u64(1_500..6_000), ..options(rng) };
    let (channels, steps) = (rng.usize(1..=3), rng.u32(steps));
    let mut connections = Connections::new(SimStorage::new(), options, channels, steps);
    connections.retains = true;
    connections
}

/// Seeds to run: `EVENKEEL_CRASH_SEEDS` for a longer search.
fn seeds(otherwise: u64) -> u64 {
    std::env::var("EVENKEEL_CRASH_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

// REQ W1, REQ W3, REQ Q2
#[test]
fn removals_beside_a_recorder_at_work_survive_every_crash() {
    let (mut images, mut removals) = (0, 0);
    for seed in 0..seeds(100) {
        let mut rng = Rng::with_seed(seed);
        let mut connections = begin(&mut rng, 30..100);
        connections.storage.watch(rng.fork());
        loop {
            let going = connections.step(&mut rng);
            for image in connections.storage.take_images() {
                images += 1;
                let anchor = connections.anchor.as_ref();
                check_image(&image, &connections.sent, &connections.before, anchor, &mut rng)
                    .unwrap_or_else(|e| panic!("seed {seed}, image {images}: {e}"));
            }
            if !going {
                break;
            }
        }
        removals += connections.removals;
    }
    eprintln!("{images} crash images, {removals} removals");
    assert!(images > 3000 && removals > 100);
}

// REQ W3, REQ Q2
#[test]
fn removals_beside_a_recorder_whose_disk_fails_lose_no_more_than_was_told() {
    let (mut points, mut removals) = (0, 0);
    for seed in 0..seeds(16) {
        let operations = {
            let mut rng = Rng::with_seed(seed);
            let mut connections = begin(&mut rng, 30..100);
            while connections.step(&mut rng) {}
            connections.storage.operations()
        };
        for at in 4..operations {
            let mut rng = Rng::with_seed(seed);
            let mut connections = begin(&mut rng, 30..100);
            let for_ever = at % 3 == 0;
            let kind = (at % 2 == 0).then_some(ErrorKind::StorageFull);
            connections.storage.set_faults(Faults { at: Some(at), for_ever, kind, ..Faults::default() });
            while connections.step(&mut rng) {}
            connections.storage.set_faults(Faults::default());
            let image = connections.storage.crash(&mut rng);
            let anchor = connections.anchor.as_ref();
            check_image(&image, &connections.sent, &connections.acknowledged, anchor, &mut rng)
                .unwrap_or_else(|e| {
                    panic!("seed {seed}, operation {at} failing ({kind:?}, {for_ever}): {e}")
                });
            points += 1;
            removals += connections.removals;
        }
    }
    eprintln!("{points} fault points, {removals} removals");
    assert!(points > 500 && removals > 500);
}

/// All that can be read: the bytes of every channel, and the gaps.
fn holds(storage: &SimStorage, sent: &Model) -> (Vec<Vec<u8>>, Vec<Gap>) {
    let bytes = |name: &String| {
        let selection = Selection { channel: name.clone(), stream: None, segment: None };
        let mut out = Vec::new();
        export(storage, &selection, &mut out).unwrap();
        out
    };
    (sent.keys().map(bytes).collect(), verify(storage, false, None).unwrap().gaps)
}

// REQ W3, REQ W5
#[test]
fn whatever_was_recorded_any_prefix_can_go_and_nothing_else() {
    let (mut prefixes, mut found) = (0, 0);
    for seed in 0..seeds(60) {
        let mut rng = Rng::with_seed(seed);
        let mut connections = begin(&mut rng, 50..150);
        connections.retains = false;
        let at = Some(rng.u64(10..200));
        connections.storage.set_faults(Faults { at, ..Faults::default() });
        while connections.step(&mut rng) {}
        connections.storage.set_faults(Faults::default());
        let whole = connections.storage.kill();
        recover(&shared(&whole), stamp(1 << 50)).unwrap();
        let ended: BTreeMap<String, u64> =
            connections.sent.iter().map(|(name, sent)| (name.clone(), sent.len() as u64)).collect();
        let numbers: Vec<u64> = sealed_segments(&whole).unwrap().iter().map(|s| s.number).collect();
        let Some((_, but_the_newest)) = numbers.split_last() else { continue };
        for (at, through) in but_the_newest.iter().enumerate() {
            let storage = whole.kill();
            // More was told of than was removed yet, sometimes.
            let told = but_the_newest[rng.usize(at..but_the_newest.len())];
            let anchor = Anchor::at(&storage, told).unwrap();
            remove_segments(&storage, *through).unwrap();
            let tell = |e| -> String { format!("seed {seed}, through {through}: {e}") };
            compare(&storage, &connections.sent, &ended, Some(&anchor)).map_err(tell).unwrap();
            prefixes += 1;
            // By hand, one more: what it alone had is missed.
            let all = holds(&storage, &connections.sent);
            for gone in but_the_newest[at + 1..].iter().copied() {
                let shorter = storage.kill();
                shorter.remove(&sealed_name(gone)).unwrap();
                let is_loss = outcome(&shorter, Some(&anchor)) == Outcome::Loss;
                let context = format!("seed {seed}, through {through} of {told}: without {gone}");
                // A segment that was given up may have it too, and counts then.
                let had_more = holds(&shorter, &connections.sent) != all;
                if gone > told {
                    assert_eq!(is_loss, had_more, "{context}");
                } else {
                    assert!(had_more || !is_loss, "{context}: the removal that was told of may have gone on");
                }
                found += u32::from(is_loss);
            }
        }
    }
    eprintln!("{prefixes} prefixes, {found} removals found");
    assert!(prefixes > 200 && found > 300);
}

// REQ W1
#[test]
fn a_segment_is_sealed_only_when_the_one_after_it_is_durable() {
    let (storage, mut driver) = recording(10, false);
    // Created, its head, the commit before, synced; then the sync of the successor.
    storage.set_faults(Faults { at: Some(storage.operations() + 4), ..Faults::default() });
    driver.rotate();
    assert!(driver.writer.poisoned().contains(&(SEGMENTS + 1)), "its sync was to fail");
    assert!(storage.content(&sealed_name(SEGMENTS)).is_none(), "after a crash nothing might follow it");
    driver.end_sources();
    assert!(driver.finish());
    for number in [SEGMENTS, SEGMENTS + 1] {
        seal_given_up(&shared(&storage), number, stamp(1 << 40)).unwrap();
    }
    assert_eq!(outcome(&storage, None), Outcome::Declared);
}
