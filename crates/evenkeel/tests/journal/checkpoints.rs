//! Signed checkpoints: what only they find, and what they are not fooled by.

use super::snapshots::Keeper;
use super::tampering::{Group, forge, one_each};
use super::{LONG, all, open, small_segments};
use evenkeel::journal::{
    CHECKPOINT_KIND, Checkpoint, JournalOptions, JournalRetention, JournalVerification, SigningKey,
    VerifyingKey, verify, verify_against,
};
use evenkeel_log::Outcome;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::Storage;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::ErrorKind;

const SEED: [u8; 32] = [5; 32];

fn key() -> SigningKey {
    SigningKey::from_seed(SEED)
}

fn options() -> JournalOptions {
    JournalOptions {
        signing: Some(key()),
        checkpoint_entries: 10,
        ballast_bytes: 0,
        ..JournalOptions::default()
    }
}

/// A journal of thirty entries, and checkpoints that were kept elsewhere as it grew.
fn signed(options: JournalOptions) -> (SimStorage, Vec<Checkpoint>) {
    let storage = SimStorage::new();
    let journal = open(&storage, options);
    let mut kept = Vec::new();
    for n in 0..30 {
        let entry = journal.append("step", Some("left"), json!({ "n": n, "verdict": "Verified" })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG));
        if n % 7 == 0 {
            kept.push(journal.checkpoint().unwrap());
        }
    }
    journal.finish(LONG).unwrap();
    kept.push(journal.checkpoint().unwrap());
    journal.verify_last().unwrap();
    (storage, kept)
}

fn against(storage: &SimStorage, kept: &[Checkpoint]) -> JournalVerification {
    verify_against(storage, false, kept, &key().public()).unwrap()
}

#[track_caller]
fn is_found(found: &JournalVerification, named: &str) {
    assert_eq!(found.outcome, Outcome::Loss, "{found:#?}");
    assert!(
        found.findings.iter().any(|finding| finding.contains(named)),
        "no finding says {named:?}: {found:#?}"
    );
}

/// The entries as they stand, and the chain after each, with everything from the numbered one on written anew.
fn rewritten(
    storage: &SimStorage,
    from: usize,
    alter: impl Fn(usize, String) -> String,
) -> Vec<(Vec<u8>, [u8; 32])> {
    let (mut hash, mut entries) = ([0; 32], Vec::new());
    for (at, entry) in all(storage).into_iter().enumerate() {
        let mut text = String::from_utf8(entry.payload).unwrap();
        if at + 1 >= from {
            let digits: String = hash.iter().map(|byte: &u8| format!("{byte:02x}")).collect();
            text = alter(at + 1, text.replacen(&entry.prev, &digits, 1));
        }
        hash = Sha256::new().chain_update(hash).chain_update(&text).finalize().into();
        entries.push((text.into_bytes(), hash));
    }
    entries
}

// REQ C11
#[test]
fn what_is_as_it_was_is_intact_and_says_up_to_where_it_was_signed() {
    let (storage, kept) = signed(options());
    let found = against(&storage, &kept);
    assert_eq!((found.outcome, &found.findings), (Outcome::Intact, &Vec::new()));
    assert_eq!(found.signed_through, Some(kept.last().unwrap().of_entry));
    assert_eq!(found.signed_through, Some(found.last_entry));
    // One after about ten entries, and one at the end, which is the last word.
    let inside: Vec<_> = all(&storage).into_iter().filter(|entry| entry.kind == CHECKPOINT_KIND).collect();
    assert!((3..=4).contains(&inside.len()), "{inside:#?}");
    assert_eq!(inside.last().unwrap().entry, found.last_entry);
    assert_eq!(against(&storage, &[]).signed_through, Some(found.last_entry - 1));
    let text = serde_json::to_string(&kept[0]).unwrap();
    assert_eq!(serde_json::from_str::<Checkpoint>(&text).unwrap(), kept[0]);
    let storage = SimStorage::new();
    assert_eq!(open(&storage, small_segments()).checkpoint(), None);
}

// REQ C11
#[test]
fn a_chain_that_was_wholly_written_anew_is_found_against_a_checkpoint_alone() {
    let (storage, kept) = signed(options());
    let alter = |at: usize, text: String| if at == 5 { text.replace("Verified", "Invented") } else { text };
    let forged = forge(&one_each(&rewritten(&storage, 5, alter)));
    // Nothing is wrong with it but that it is not what was.
    assert_eq!(verify(&forged, false).unwrap().outcome, Outcome::Intact);
    is_found(&against(&forged, &kept), "entry 8 or one before it was written anew");
    // What stands in it does not agree with it either.
    is_found(&against(&forged, &[]), "or one before it was written anew");
    // Without those that stood in it only what is kept elsewhere tells.
    let unsigned = |_, text: String| {
        text.replace("\"kind\":\"checkpoint\"", "\"kind\":\"noise\"").replace("Verified", "Invented")
    };
    let forged = forge(&one_each(&rewritten(&storage, 1, unsigned)));
    assert_eq!(against(&forged, &[]).outcome, Outcome::Intact);
    let found = against(&forged, &kept);
    is_found(&found, "entry 1 or one before it was written anew");
    assert_eq!(found.signed_through, None);
}

// REQ C11
#[test]
fn a_tail_that_was_cut_off_is_found() {
    let (storage, kept) = signed(options());
    let entries = rewritten(&storage, usize::MAX, |_, text| text);
    let cut = forge(&one_each(&entries[..20]));
    assert_eq!(verify(&cut, false).unwrap().outcome, Outcome::Intact);
    let found = against(&cut, &kept);
    is_found(&found, "the journal ends at entry 20, but entry ");
    is_found(&found, "its tail is cut off");
    assert!(found.signed_through.unwrap() <= 20);
}

// REQ C11
#[test]
fn foreign_keys_and_bent_signatures_vouch_for_nothing() {
    let (storage, kept) = signed(options());
    let mine = SigningKey::from_seed([6; 32]);
    let found = verify_against(&storage, false, &kept, &mine.public()).unwrap();
    is_found(&found, "is of a foreign key");
    assert_eq!(found.signed_through, None);
    let bent: [fn(&mut Checkpoint); 5] = [
        |kept| {
            let other = if &kept.signature[3..4] == "0" { "1" } else { "0" };
            kept.signature.replace_range(3..4, other);
        },
        |kept| kept.time.replace_range(3..4, "9"),
        |kept| kept.of_entry += 1,
        |kept| kept.head = "f".repeat(64),
        |kept| kept.signature.truncate(64),
    ];
    for (at, bend) in bent.into_iter().enumerate() {
        let mut one = kept[1].clone();
        bend(&mut one);
        let found = against(&storage, &[one]);
        is_found(&found, "signature");
        assert_eq!(found.findings.len(), 1, "bent {at}: {found:#?}");
    }
    let mut of_mine = kept[1].clone();
    of_mine.key = mine.public().to_string();
    is_found(&against(&storage, &[of_mine]), "foreign key");
}

// REQ C11
#[test]
fn one_key_that_signs_two_histories_is_found() {
    let (storage, kept) = signed(options());
    let (other, of_other) = signed(options());
    drop(other);
    assert_eq!(kept[0].of_entry, of_other[0].of_entry);
    is_found(&against(&storage, &[kept[0].clone(), of_other[0].clone()]), "signed twice");
}

// REQ C11
#[test]
fn of_what_retention_removed_nothing_is_said() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let retention = JournalRetention { bytes: Some(10_000), age_ns: None };
    let journal = open(
        &storage,
        JournalOptions {
            signing: Some(key()),
            checkpoint_entries: 10,
            retention,
            snapshot_entries: 12,
            ..small_segments()
        },
    );
    keeper.register(&journal, 0);
    let mut kept = Vec::new();
    for n in 0..120 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        kept.push(journal.checkpoint().unwrap());
    }
    journal.finish(LONG).unwrap();
    let found = against(&storage, &kept);
    assert!(found.findings.is_empty(), "{found:#?}");
    assert!(found.anchored_from.unwrap() > kept[0].of_entry + 1);
    assert!(found.signed_through >= Some(kept.last().unwrap().of_entry));
}

// REQ C11
#[test]
fn a_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let made = SigningKey::create(&path).unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SigningKey::open(&path).unwrap(), made);
    assert_eq!(SigningKey::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    mode(0o640);
    assert_eq!(SigningKey::open(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
    mode(0o600);
    for length in [0, 31, 33] {
        std::fs::write(&path, vec![1; length]).unwrap();
        assert_eq!(SigningKey::open(&path).unwrap_err().kind(), ErrorKind::InvalidData);
    }
    assert_ne!(made.public(), key().public());
    let shown = format!("{:?}", key());
    assert!(!shown.contains("5, 5") && shown.contains(&key().public().to_string()));
    let public: VerifyingKey = key().public().to_string().parse().unwrap();
    assert_eq!(public, key().public());
}

// REQ C11, REQ S6
#[test]
fn a_damaged_journal_opens_with_what_is_whole() {
    let (storage, kept) = signed(JournalOptions { segment_bytes: 3_000, ..options() });
    let mut names: Vec<String> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    for (at, name) in names.iter().enumerate() {
        let copy = storage.kill();
        let content = copy.content(name).unwrap();
        copy.corrupt(name, content.len() as u64 / 2, 0x10);
        let found = against(&copy, &kept);
        is_found(&found, name);
        let journal = open(&copy, options());
        let entry = journal.append("step", None, json!({ "after": at })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG));
        journal.finish(LONG).unwrap();
        let mut whole = 0;
        evenkeel::journal::entries(&copy, false, &mut |_| {
            whole += 1;
            Ok(())
        })
        .unwrap();
        assert!(whole > 15, "{name}: {whole} entries are whole");
    }
}

// REQ C11
#[test]
fn a_group_with_fresh_checksums_is_found_and_named() {
    let (storage, kept) = signed(options());
    let entries = rewritten(&storage, usize::MAX, |_, text| text);
    let mut payloads: Vec<Vec<u8>> = entries.iter().map(|(payload, _)| payload.clone()).collect();
    payloads[9] =
        String::from_utf8(payloads[9].clone()).unwrap().replace("Verified", "Invented").into_bytes();
    let together = Group { first: 1, payloads, chain: Some(entries.last().unwrap().1), rotate: false };
    is_found(&against(&forge(&[together]), &kept), "entry 10");
}
