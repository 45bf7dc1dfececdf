//! Signed checkpoints: proof, kept elsewhere, of what the journal said up to an entry.
//!
//! The chain alone cannot tell that everything from some entry to the end was written anew, or cut
//! off. Somebody who holds a checkpoint can: whoever rewrites the journal has no key to sign another.
//!
//! What is signed, with Ed25519, in this order:
//!
//! ```text
//! "evenkeel journal checkpoint 1\0"   30 bytes, so that a signature counts for nothing else
//! of_entry                             8 bytes, big-endian
//! head                                32 bytes, the hash after that entry
//! time                                RFC 3339, to the end
//! ```
//!
//! A journal with a key appends one as an entry of kind `checkpoint` every so many entries and at its
//! end; [`Journal::checkpoint`](super::Journal::checkpoint) answers one to be kept elsewhere. Only one
//! that is kept elsewhere finds a tail that was cut off.

use super::CHANNEL;
use super::draft::Draft;
use super::entry::{Entry, Hash, ZERO, kind_of, unhex};
use super::shared::Shared;
use super::verify::{JournalVerification, checked};
use crate::clock;
use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use evenkeel_log::storage::Storage;
use evenkeel_log::{Found, Outcome, Selection, hex, read};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Kind of the entries that are checkpoints.
pub const CHECKPOINT_KIND: &str = "checkpoint";
/// What a signature is for.
const DOMAIN: &[u8; 30] = b"evenkeel journal checkpoint 1\0";
/// Who but the owner may do anything with a key's file: nobody.
const OTHERS: u32 = 0o077;

/// The key that checkpoints are signed with: a seed of 32 random bytes. It is not shown by `Debug`.
///
/// ```
/// use evenkeel::journal::{Journal, JournalOptions, SigningKey, verify_against};
/// use evenkeel_log::{Outcome, storage::DirStorage};
/// use serde_json::json;
/// use std::{sync::Arc, time::Duration};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let key = SigningKey::create(&dir.path().join("journal.key"))?;
/// let storage = Arc::new(DirStorage::create(&dir.path().join("journal"))?);
/// let options = JournalOptions { signing: Some(key), ..JournalOptions::default() };
/// let (journal, _) = Journal::open(storage.clone(), options)?;
/// let entry = journal.append("audit", None, json!({ "who": "me" })).expect("there is room");
/// assert!(journal.wait_durable(entry.entry, Duration::from_secs(10)));
/// let kept_elsewhere = journal.checkpoint().expect("there is a key");
/// journal.finish(Duration::from_secs(10))?;
/// let found = verify_against(&*storage, false, &[kept_elsewhere], &key.public())?;
/// assert_eq!((found.outcome, found.signed_through), (Outcome::Intact, Some(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey {
    seed: [u8; 32],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

impl SigningKey {
    /// The key of a seed, which has to be random and secret.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed }
    }

    /// Makes a new key and writes its seed to a new file that only its owner may read, durable.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` where there is a file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&seed)?;
        file.sync_all()?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self { seed })
    }

    /// Reads the seed of a key that was created.
    ///
    /// # Errors
    /// What the system says; `InvalidData` when the file is not of 32 bytes, `PermissionDenied`
    /// when others than its owner may read or write it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        if mode & OTHERS != 0 {
            let what = format!(
                "{} may be used by others (mode {:o}): only its owner may (600)",
                path.display(),
                mode & 0o777
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let mut bytes = Vec::new();
        file.take(33).read_to_end(&mut bytes)?;
        let seed = bytes.try_into().map_err(|_| {
            let what = format!("{} is no key: it has not 32 bytes", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        Ok(Self { seed })
    }

    fn pair(&self) -> KeyPair {
        KeyPair::from_seed(Seed::new(self.seed))
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(*self.pair().pk)
    }

    /// Signs what the journal says: the hash after an entry.
    pub(super) fn sign(&self, of_entry: u64, head: &Hash, wall_ns: u64) -> Checkpoint {
        let pair = self.pair();
        let time = clock::rfc3339(wall_ns);
        let signature = pair.sk.sign(signed_bytes(of_entry, head, &time), None);
        Checkpoint { of_entry, head: hex(head), key: hex(&*pair.pk), signature: hex(&*signature), time }
    }
}

/// What checkpoints are checked with; as text, 64 hexadecimal digits.
///
/// ```
/// use evenkeel::journal::{SigningKey, VerifyingKey};
///
/// let key = SigningKey::from_seed([7; 32]).public();
/// assert_eq!(key.to_string().parse::<VerifyingKey>(), Ok(key));
/// assert!("no key".parse::<VerifyingKey>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

/// A text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 hexadecimal digits in lower case")]
pub struct NoKey;

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::str::FromStr for VerifyingKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        unhex(text).map(Self).ok_or(NoKey)
    }
}

/// What the journal said up to an entry, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of the entry.
    pub of_entry: u64,
    /// The hash after it, 64 hexadecimal digits.
    pub head: String,
    /// The public key, 64 hexadecimal digits.
    pub key: String,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
    /// When it was signed, RFC 3339 in UTC.
    pub time: String,
}

/// What a signature is over; the head of the file says how.
fn signed_bytes(of_entry: u64, head: &Hash, time: &str) -> Vec<u8> {
    [DOMAIN.as_slice(), &of_entry.to_be_bytes(), head, time.as_bytes()].concat()
}

impl Checkpoint {
    /// The hash that it vouches for; the error says why it vouches for none.
    fn vouches(&self, trusted: VerifyingKey) -> Result<Hash, String> {
        let of = self.of_entry;
        if self.key != trusted.to_string() {
            return Err(format!("the checkpoint of entry {of} is of a foreign key, {:?}", self.key));
        }
        let wrong = || format!("the signature of the checkpoint of entry {of} is wrong");
        let head = unhex(&self.head).ok_or_else(wrong)?;
        let halves = (self.signature.get(..64), self.signature.get(64..));
        let (Some(first), Some(second)) = (halves.0.and_then(unhex), halves.1.and_then(unhex)) else {
            return Err(wrong());
        };
        let signature = Signature::from_slice(&[first, second].concat()).map_err(|_| wrong())?;
        let is_right = PublicKey::new(trusted.0).verify(signed_bytes(of, &head, &self.time), &signature);
        is_right.map(|()| head).map_err(|_| wrong())
    }
}

/// When the next checkpoint is due: kept by `ek-journal`.
pub(super) struct Checkpoints {
    key: Option<SigningKey>,
    every_entries: u64,
    entries: u64,
}

impl Checkpoints {
    pub(super) fn new(key: Option<SigningKey>, every_entries: u64) -> Self {
        Self { key, every_entries, entries: 0 }
    }

    /// Entries that were taken off the queue, but for those of `ek-journal`'s own.
    pub(super) fn count(&mut self, entries: u64) {
        self.entries += entries;
    }

    /// Of the chain's head.
    pub(super) fn draft(&self, shared: &Shared) -> Option<Draft> {
        let (entry, hash) = shared.chain();
        let checkpoint = self.key?.sign(entry, &hash, clock::wall_ns());
        Some(Draft::of(CHECKPOINT_KIND, None, None, &checkpoint))
    }

    /// Appends one where it is due and there is room.
    pub(super) fn keep(&mut self, shared: &Shared) {
        if self.entries >= self.every_entries
            && let Some(draft) = self.draft(shared)
            && shared.offer(&draft).is_some()
        {
            self.entries = 0;
        }
    }
}

/// Checks a journal as [`verify`](super::verify) does, and what it says against `checkpoints` that were
/// kept elsewhere and those that stand in it, all of which have to be signed by the `trusted` key.
///
/// It finds what the chain alone cannot: a tail that was cut off, and a beginning or end that was
/// written anew with a chain of its own. Of an entry that retention removed nothing can be said; that it
/// was retention has to be signed: a journal with a key signs each of its anchors before anything goes.
///
/// # Errors
/// What the storage says; what is wrong with the journal is in the answer.
pub fn verify_against(
    storage: &dyn Storage,
    live: bool,
    checkpoints: &[Checkpoint],
    trusted: &VerifyingKey,
) -> io::Result<JournalVerification> {
    let (mut vouched, mut findings) = (BTreeMap::new(), Vec::new());
    let inside = inside(storage, live)?;
    for checkpoint in checkpoints.iter().chain(&inside) {
        match checkpoint.vouches(*trusted) {
            Ok(head) if vouched.insert(checkpoint.of_entry, head).is_some_and(|other| other != head) => {
                findings.push(format!("entry {} was signed twice, with two heads", checkpoint.of_entry));
            }
            Ok(_) => {}
            Err(finding) => findings.push(finding),
        }
    }
    let mut met: BTreeMap<u64, Hash> = BTreeMap::from([(0, ZERO)]);
    let (mut found, anchor_entry) = checked(storage, live, &mut |entry, hash| {
        if vouched.contains_key(&entry) {
            met.insert(entry, *hash);
        }
    })?;
    let removed_before = found.anchored_from.unwrap_or(0);
    for (entry, head) in vouched {
        let last = found.last_entry;
        match met.get(&entry) {
            Some(hash) if *hash == head => found.signed_through = Some(entry),
            Some(_) => findings
                .push(format!("entry {entry} or one before it was written anew: another head was signed")),
            None if entry > last => {
                findings.push(format!(
                    "the journal ends at entry {last}, but entry {entry} was signed: its tail is cut off"
                ));
            }
            None if entry < removed_before => {}
            None => findings.push(format!("entry {entry}, which was signed, is missing")),
        }
    }
    if let Some(anchor) = anchor_entry.filter(|anchor| found.signed_through < Some(*anchor)) {
        findings.push(format!(
            "entry {anchor} says that all before entry {removed_before} was removed on purpose, and no signature covers it"
        ));
    }
    if !findings.is_empty() {
        found.outcome = found.outcome.max(Outcome::Loss);
        found.findings.extend(findings);
    }
    Ok(found)
}

/// The checkpoints that stand in a journal.
fn inside(storage: &dyn Storage, live: bool) -> io::Result<Vec<Checkpoint>> {
    let mut inside = Vec::new();
    let selection = Selection { channel: CHANNEL.to_owned(), stream: None, segment: None };
    read(storage, live, &selection, &mut |found| {
        if let Found::Message { payload, .. } = found
            && kind_of(payload) == Some(CHECKPOINT_KIND)
            && let Ok(entry) = Entry::parse(payload)
        {
            inside.extend(Checkpoint::deserialize(&entry.body));
        }
        Ok(())
    })?;
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ C11
    #[test]
    fn what_is_signed_stays_as_it_is() {
        let head: Hash = std::array::from_fn(|at| at as u8);
        let checkpoint = SigningKey::from_seed([5; 32]).sign(7, &head, 1_795_253_400_123_456_789);
        assert_eq!(checkpoint.time, "2026-11-21T09:30:00.123456789Z");
        // Made with the `cryptography` package of Python after the head of this file, not with this code.
        assert_eq!(checkpoint.key, "6e7a1cdd29b0b78fd13af4c5598feff4ef2a97166e3ca6f2e4fbfccd80505bf1");
        assert_eq!(
            checkpoint.signature,
            "224335474b81eb42d356b0e6130a137ad5eb12daa58d2a4c15df68e491c45d66\
             7c50576baa60c94f9c69885213f7467b4a993a497aae96b7b03dad4becf6a409"
        );
    }
}
