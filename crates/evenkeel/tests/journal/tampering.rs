//! A journal that somebody altered, with right checksums where he could.

use super::{LONG, all, open, small_segments};
use evenkeel::journal::{JournalOptions, JournalVerification, verify};
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::Storage;
use evenkeel_log::{Batch, LogOptions, LogWriter, Outcome, Resume, Stamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const NOW: Stamp = Stamp { wall_ns: 1_700_000_000_000_000_000, mono_ns: 0 };

type Hash = [u8; 32];

/// Eight entries as a journal made them, and the chain after each.
fn originals() -> Vec<(Vec<u8>, Hash)> {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions { ballast_bytes: 0, ..JournalOptions::default() });
    for n in 1..=8 {
        journal.append("step", Some("left"), json!({ "n": n, "verdict": "Verified" })).unwrap();
    }
    journal.finish(LONG).unwrap();
    let mut hash = [0; 32];
    let chained = |payload: Vec<u8>| {
        hash = Sha256::new().chain_update(hash).chain_update(&payload).finalize().into();
        (payload, hash)
    };
    all(&storage).into_iter().map(|e| e.payload).map(chained).collect()
}

/// One commit: the number of its first message, what it covers, and what it says of the chain.
pub(super) struct Group {
    pub(super) first: u64,
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) chain: Option<Hash>,
    pub(super) rotate: bool,
}

pub(super) fn one_each(entries: &[(Vec<u8>, Hash)]) -> Vec<Group> {
    let group = |(at, (payload, hash)): (usize, &(Vec<u8>, Hash))| Group {
        first: at as u64 + 1,
        payloads: vec![payload.clone()],
        chain: Some(*hash),
        rotate: false,
    };
    entries.iter().enumerate().map(group).collect()
}

/// Writes a journal's log with right CRCs and seals, whatever stands in it.
pub(super) fn forge(groups: &[Group]) -> SimStorage {
    let storage = SimStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let options = LogOptions { ballast_bytes: 0, segment_ns: u64::MAX, ..LogOptions::default() };
    let first_chain = groups[0].chain.map(|_| [0; 32]);
    let resume = Resume { chain: first_chain, ..Resume::default() };
    let mut log = LogWriter::create(shared, options, resume, NOW).unwrap();
    let id = log.channel("journal", "json");
    let stream = log.stream(id, &[]);
    for group in groups {
        let bytes = group.payloads.iter().map(|p| Batch::bytes_for(p.len())).sum();
        let mut batch = Batch::new(stream, group.first, vec![0; bytes]);
        for payload in &group.payloads {
            assert!(batch.push(payload, NOW.wall_ns));
        }
        if let Some(chain) = group.chain {
            batch.set_chain(chain);
        }
        log.append(batch, NOW);
        let _ = log.commit(NOW);
        let mut jobs: Vec<_> = log.sync().into_iter().collect();
        if group.rotate {
            jobs.extend(log.rotate(NOW));
        }
        for job in jobs {
            let _ = log.complete(job.run(), NOW);
        }
    }
    for job in log.finish(NOW) {
        let _ = log.complete(job.run(), NOW);
    }
    storage
}

fn alter(payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(payload.to_vec()).unwrap();
    assert!(text.contains("Verified"));
    text.replace("Verified", "Invented").into_bytes()
}

fn rehash(before: &Hash, payload: &[u8]) -> Hash {
    Sha256::new().chain_update(before).chain_update(payload).finalize().into()
}

#[track_caller]
fn is_found(storage: &SimStorage, named: &str) -> JournalVerification {
    let verification = verify(storage, false).unwrap();
    assert_eq!(verification.outcome, Outcome::Loss, "{verification:#?}");
    let told = verification.findings.iter().any(|finding| finding.contains(named));
    assert!(told, "no finding says {named:?}: {verification:#?}");
    verification
}

// REQ C11
#[test]
fn what_was_not_altered_is_intact() {
    let entries = originals();
    let mut groups = one_each(&entries);
    groups[4].rotate = true;
    let verification = verify(&forge(&groups), false).unwrap();
    assert_eq!(verification.outcome, Outcome::Intact, "{verification:#?}");
    assert!(verification.findings.is_empty());
    let payloads = entries.iter().map(|(p, _)| p.clone()).collect();
    let together = Group { first: 1, payloads, chain: Some(entries[7].1), rotate: false };
    assert_eq!(verify(&forge(&[together]), false).unwrap().outcome, Outcome::Intact);
}

// REQ C11
#[test]
fn an_altered_entry_is_named_however_well_it_is_sealed() {
    let entries = originals();
    // Under right CRCs, the commits as they were.
    let mut groups = one_each(&entries);
    groups[2].payloads[0] = alter(&entries[2].0);
    let found = is_found(&forge(&groups), "entry 3 was altered: its commit");
    assert_eq!(found.findings.len(), 1, "one act, one finding: {found:#?}");
    // With a commit that agrees with it, the next entry does not.
    groups[2].chain = Some(rehash(&entries[1].1, &groups[2].payloads[0]));
    let found = is_found(&forge(&groups), "entry 3 was altered, or entry 4");
    assert_eq!(found.findings.len(), 1, "{found:#?}");
    // In the middle of a commit.
    let mut payloads: Vec<Vec<u8>> = entries.iter().map(|(p, _)| p.clone()).collect();
    payloads[5] = alter(&payloads[5]);
    let together = Group { first: 1, payloads, chain: Some(entries[7].1), rotate: false };
    is_found(&forge(&[together]), "entry 6 was altered, or entry 7");
    // The last of a segment, its commit agreeing: the next segment's beginning does not.
    let mut groups = one_each(&entries);
    groups[3].rotate = true;
    let (mut first, second) = (forge(&groups), forge(&groups));
    groups[3].payloads[0] = alter(&entries[3].0);
    groups[3].chain = Some(rehash(&entries[2].1, &groups[3].payloads[0]));
    first = {
        drop(first);
        forge(&groups)
    };
    let mixed = SimStorage::new();
    mixed.put("000001.mcap", first.content("000001.mcap").unwrap());
    mixed.put("000002.mcap", second.content("000002.mcap").unwrap());
    is_found(&mixed, "entry 4 or one before it was altered: 000002.mcap");
}

// REQ C11
#[test]
fn deleted_reordered_and_repeated_entries_are_named() {
    let entries = originals();
    let renumbered = |order: &[usize]| {
        let picked: Vec<_> = order.iter().map(|at| entries[*at - 1].clone()).collect();
        forge(&one_each(&picked))
    };
    is_found(&renumbered(&[1, 2, 4, 5, 6, 7, 8]), "entry 3 says that it is entry 4");
    is_found(&renumbered(&[1, 2, 4, 3, 5, 6, 7, 8]), "entry 3 says that it is entry 4");
    is_found(&renumbered(&[1, 2, 3, 3, 4, 5, 6, 7, 8]), "entry 4 says that it is entry 3");
    is_found(&renumbered(&[2, 3, 4]), "entry 1 says that it is entry 2");
    // With the numbers as they were.
    let mut groups = one_each(&entries);
    groups.remove(2);
    is_found(&forge(&groups), "entries 3 to 3 are missing");
    let mut groups = one_each(&entries);
    groups.insert(
        3,
        Group { first: 3, payloads: vec![entries[2].0.clone()], chain: Some(entries[2].1), rotate: false },
    );
    is_found(&forge(&groups), "entry 3 stands again");
}

// REQ C11
#[test]
fn broken_links_and_commits_are_named() {
    let entries = originals();
    let text = String::from_utf8(entries[4].0.clone()).unwrap();
    let prev = text.find("\"prev\":\"").unwrap() + 8;
    for link in ["f".repeat(64), "no hash".to_owned()] {
        let mut groups = one_each(&entries);
        let mut bent = text.clone();
        bent.replace_range(prev..prev + 64, &link);
        groups[4].payloads[0] = bent.into_bytes();
        is_found(&forge(&groups), "entry 5");
    }
    let mut groups = one_each(&entries);
    groups[5].chain = Some([1; 32]);
    is_found(&forge(&groups), "entry 6 was altered: its commit");
    let mut groups = one_each(&entries);
    groups[6].payloads[0] = b"{\"v\":9}".to_vec();
    is_found(&forge(&groups), "entry 7 cannot be read");
    let mut groups = one_each(&entries);
    groups.iter_mut().for_each(|g| g.chain = None);
    is_found(&forge(&groups), "has no chain");
}

/// A journal of at least four segments.
fn long() -> (SimStorage, Vec<String>) {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    for n in 0..20 {
        let entry = journal.append("step", None, json!({ "n": n, "filling": "x".repeat(400) })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG));
    }
    journal.finish(LONG).unwrap();
    let mut names: Vec<String> = storage.list().unwrap().into_iter().map(|e| e.name).collect();
    names.sort();
    assert!(names.len() >= 4 && names.iter().all(|n| n.ends_with(".mcap")), "{names:?}");
    assert_eq!(verify(&storage, false).unwrap().outcome, Outcome::Intact);
    (storage, names)
}

// REQ C11
#[test]
fn a_missing_file_is_loss() {
    let (storage, names) = long();
    for (at, name) in names.iter().enumerate() {
        let copy = storage.kill();
        copy.remove(name).unwrap();
        let named = match at {
            0 => "the journal begins at entry".to_owned(),
            _ if at == names.len() - 1 => "a segment after it is missing".to_owned(),
            _ => format!("{} begins at entry", names[at + 1]),
        };
        is_found(&copy, &named);
    }
}

// REQ C11, REQ S6
#[test]
fn no_flipped_bit_passes() {
    let (storage, names) = long();
    let mut rng = fastrand::Rng::with_seed(4);
    for name in &names {
        let len = storage.content(name).unwrap().len();
        for _ in 0..60 {
            let copy = storage.kill();
            let (at, bit) = (rng.usize(..len), rng.u8(..8));
            copy.corrupt(name, at as u64, 1 << bit);
            let verification = verify(&copy, false).unwrap();
            let context = format!("{name}, byte {at}, bit {bit}");
            assert!(verification.outcome >= Outcome::Loss, "{context}: {verification:#?}");
            assert!(!verification.findings.is_empty(), "{context}");
        }
    }
}

// REQ C11, REQ S6
#[test]
fn after_damage_the_journal_goes_on_and_stays_marked() {
    let (storage, names) = long();
    let middle = &names[1];
    storage.corrupt(middle, storage.content(middle).unwrap().len() as u64 / 2, 0x10);
    is_found(&storage, middle);
    // The seal tells nothing; `recover` looks closely only at what has none.
    let content = storage.content(middle).unwrap();
    storage.put(middle, content[..content.len() - 10].to_vec());
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let (journal, recovery) = evenkeel::journal::Journal::open(shared, small_segments()).unwrap();
    assert!(recovery.is_loss());
    assert_eq!(journal.head().entry, 20);
    journal.append("step", None, json!({})).unwrap();
    journal.finish(LONG).unwrap();
    let found = is_found(&storage, "lost to damage");
    assert_eq!(found.last_entry, 21);
    assert!(found.findings.iter().all(|f| !f.contains("altered")), "{found:#?}");
}
