//! Reading a journal back, and checking its chain.
//!
//! Two checks on top of each other: the log's own (every CRC, sequence, commit
//! and seal) and the chain over it, which a change under fresh CRCs does not
//! satisfy either. Each thing found is told once: after a break the check goes on
//! from what the entry or the commit itself says.
//!
//! A journal whose oldest segments retention removed begins where an anchor says, or before it where
//! the removal was cut short: an entry that is in the chain itself and names the hash before the
//! first entry that stayed. Without one that agrees, what stood before is missing.
//!
//! What no check of the journal alone can find: that everything from some entry to
//! the end was written anew, or is gone together with the files of later runs.
//! Against that stands the head in the report, which is kept elsewhere, and signed checkpoints:
//! [`verify_against`](super::verify_against).

use super::entry::{Entry, Hash, ZERO, hash_after, unhex};
use super::retention::{ANCHOR_KIND, AnchorBody};
use super::{CHANNEL, Journal};
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Anchor, Backwards, Found, GAPS_CHANNEL, Outcome, ReadSummary, Selection, hex, read, segment_names,
    verify_segment, verify_with,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Findings that are told; more are only counted.
const FINDINGS_MAX: usize = 64;
/// Anchors that are remembered: the newest count.
const ANCHORS_MAX: usize = 64;

/// What [`verify`] found.
#[derive(Clone, Debug, Serialize)]
pub struct JournalVerification {
    /// The verdict: `Declared` for a journal that a crash or a running program left without an end.
    pub outcome: Outcome,
    /// Entries that are there.
    pub entries: u64,
    /// Number of the first of them.
    pub first_entry: Option<u64>,
    /// Number of the last of them; 0 when there is none.
    pub last_entry: u64,
    /// The hash after the last, 64 hexadecimal digits.
    pub head: String,
    /// Number of the first entry that retention left, where an anchor says so: the check starts from there.
    pub anchored_from: Option<u64>,
    /// The last entry whose head a trusted checkpoint says as well: see [`verify_against`](super::verify_against).
    pub signed_through: Option<u64>,
    /// What is wrong, in words that name the entry.
    pub findings: Vec<String>,
}

/// Checks a whole journal: its log as [`evenkeel_log::verify`] does, the form of
/// every entry, and the chain through entries, commits and segments. With `live`,
/// a program is at work in it, and what lies beyond the last commit does not count.
///
/// # Errors
/// What the storage says; what is wrong with the journal is in the answer.
pub fn verify(storage: &dyn Storage, live: bool) -> io::Result<JournalVerification> {
    Ok(checked(storage, live, &mut |_, _| ())?.0)
}

/// The same; `visit` is told the number of each entry and the chain after it. Answers also which entry is
/// the first anchor that covers what was removed.
pub(super) fn checked(
    storage: &dyn Storage,
    live: bool,
    visit: &mut dyn FnMut(u64, &Hash),
) -> io::Result<(JournalVerification, Option<u64>)> {
    let mut check = Check::default();
    let (mut unread, mut is_anchored) = (Ok(()), false);
    // The log first: what is removed meanwhile an anchor covers that is read after that.
    let log = verify_with(storage, live, &mut || {
        unread = check.read_all(storage, live, visit);
        let anchor = check.anchor();
        is_anchored = anchor.is_some();
        Ok(anchor)
    })?;
    if log.outcome == Outcome::Unreadable {
        check = Check::default();
    } else {
        unread?;
    }
    check.beginning(is_anchored);
    let missing = log.channels.iter().filter(|c| c.name == CHANNEL).flat_map(|c| &c.missing);
    for (first, last) in missing {
        check.find(&format!("entries {first} to {last} are missing"));
    }
    for finding in &log.findings {
        // That entries are missing was told in the journal's own words.
        if !finding.starts_with(&format!("{CHANNEL}: sequences ")) {
            check.find(finding);
        }
    }
    for gap in log.gaps.iter().filter(|gap| gap.is_loss()) {
        let last = gap.last_sequence.map_or_else(|| "the end".to_owned(), |last| last.to_string());
        check.find(&format!("entries {} to {last} were lost to damage", gap.first_sequence));
    }
    let outcome = if check.count > 0 { log.outcome.max(Outcome::Loss) } else { log.outcome };
    let anchor_entry = check.anchor_entry;
    Ok((check.finish(outcome), anchor_entry))
}

/// Reads every whole entry, in order, up to the last commit. With `live`, a
/// program is at work in it, and what lies beyond the last commit is not counted.
/// What is damaged, or no entry, is left out and told by the answer's `damaged`.
///
/// # Errors
/// What the storage or `visit` says.
pub fn entries(
    storage: &dyn Storage,
    live: bool,
    visit: &mut dyn FnMut(Entry) -> io::Result<()>,
) -> io::Result<ReadSummary> {
    let mut unreadable = false;
    let mut summary = read(storage, live, &selection(None), &mut |found| {
        if let Found::Message { payload, .. } = found {
            match Entry::parse(payload) {
                Ok(entry) => return visit(entry),
                Err(_) => unreadable = true,
            }
        }
        Ok(())
    })?;
    summary.damaged |= unreadable;
    Ok(summary)
}

fn selection(segment: Option<String>) -> Selection {
    Selection { channel: CHANNEL.to_owned(), stream: None, segment }
}

impl Journal {
    /// Reads the last segment back: every byte, and the chain from its first
    /// commit to its end. After [`finish`](Journal::finish) the chain has to end
    /// at [`head`](Journal::head); before, it is checked up to the last commit.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn verify_last(&self) -> Result<(), String> {
        let storage = &**self.storage();
        let told = |e: io::Error| format!("the journal cannot be read back: {e}");
        let name = segment_names(storage).map_err(told)?.pop().ok_or("the journal has no segment")?;
        let is_sealed = !name.ends_with(".part");
        if is_sealed {
            let report = verify_segment(storage, &name).map_err(told)?;
            if let Some(damage) = report.damage.first() {
                return Err(format!("{name} read back wrong at byte {}: {}", damage.from, damage.reason));
            }
        }
        let mut check = Check { is_whole: false, ..Check::default() };
        read(storage, !is_sealed, &selection(Some(name.clone())), &mut |found| {
            check.found(found);
            Ok(())
        })
        .map_err(told)?;
        let head = self.head();
        if is_sealed && check.findings.is_empty() && hex(&check.hash) != head.hash {
            let (at, hash) = (check.last_entry(), hex(&check.hash));
            check.find(&format!(
                "ends at entry {at} with {hash}, not at entry {} with {}",
                head.entry, head.hash
            ));
        }
        check.findings.first().map_or(Ok(()), |finding| Err(format!("{name}: {finding}")))
    }
}

/// Follows the chain.
struct Check {
    /// Whether the first segment that is read is the journal's first.
    is_whole: bool,
    /// Number of the next entry; 0 before the first segment.
    next: u64,
    /// The chain before it.
    hash: Hash,
    first_entry: Option<u64>,
    entries: u64,
    findings: Vec<String>,
    count: u64,
    /// Where the journal begins, where that is not its first entry: in which segment, and the chain before it.
    begins: Option<(u64, String)>,
    /// First entries of segments, and the chain before them.
    beginnings: BTreeMap<u64, Hash>,
    /// What the newest anchors say.
    anchors: VecDeque<(u64, AnchorBody)>,
    anchored_from: Option<u64>,
    /// The first anchor that covers that.
    anchor_entry: Option<u64>,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            is_whole: true,
            next: 0,
            hash: ZERO,
            first_entry: None,
            entries: 0,
            findings: Vec::new(),
            count: 0,
            begins: None,
            beginnings: BTreeMap::new(),
            anchors: VecDeque::new(),
            anchored_from: None,
            anchor_entry: None,
        }
    }
}

impl Check {
    fn find(&mut self, finding: &str) {
        self.count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding.to_owned());
        }
    }

    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Segment { name, chain, first_sequence } => self.segment(name, chain, first_sequence),
            Found::Message { sequence, payload, .. } => self.entry(sequence, payload),
            Found::Commit { chain, last_sequence } => self.commit(chain, last_sequence),
            Found::Damage { segment, damage } => {
                let (from, to, reason) = (damage.from, damage.to, &damage.reason);
                let near = self.last_entry();
                self.find(&format!("{segment}: bytes {from} to {to}, by entry {near}: {reason}"));
            }
            _ => {}
        }
    }

    fn last_entry(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    fn segment(&mut self, name: &str, chain: Option<Hash>, first_sequence: u64) {
        let begins_the_check = self.next == 0;
        if begins_the_check && self.is_whole && (first_sequence != 1 || chain != Some(ZERO)) {
            self.begins = Some((first_sequence, name.to_owned()));
        }
        if !begins_the_check && first_sequence != self.next {
            let last = self.last_entry();
            self.find(&format!("{name} begins at entry {first_sequence}, after entry {last}"));
        } else if !begins_the_check && chain != Some(self.hash) {
            let last = self.last_entry();
            self.find(&format!("entry {last} or one before it was altered: {name} is not chained to it"));
        }
        self.next = first_sequence;
        self.hash = chain.unwrap_or(ZERO);
        self.beginnings.insert(first_sequence, self.hash);
    }

    fn entry(&mut self, sequence: u64, payload: &[u8]) {
        self.entries += 1;
        self.first_entry.get_or_insert(sequence);
        let follows = sequence == self.next;
        if !follows && self.next > 0 {
            let next = self.next;
            let what = if sequence < next { "stands again or out of order" } else { "stands" };
            self.find(&format!("entry {sequence} {what} where entry {next} should"));
        }
        let before = match Entry::parse(payload) {
            Ok(entry) => {
                self.anchor_in(&entry);
                self.claims(sequence, &entry, follows)
            }
            Err(why) => {
                self.find(&format!("entry {sequence} cannot be read: {why}"));
                self.hash
            }
        };
        self.hash = hash_after(&before, payload);
        self.next = sequence.saturating_add(1);
    }

    fn anchor_in(&mut self, entry: &Entry) {
        if entry.kind != ANCHOR_KIND {
            return;
        }
        match AnchorBody::deserialize(&entry.body) {
            Ok(body) => {
                self.anchors.push_back((entry.entry, body));
                if self.anchors.len() > ANCHORS_MAX {
                    self.anchors.pop_front();
                }
            }
            Err(e) => self.find(&format!("entry {} is no anchor: {e}", entry.entry)),
        }
    }

    /// What was removed before the beginning, where an anchor covers it.
    fn anchor(&mut self) -> Option<Anchor> {
        let (begins, _) = self.begins.as_ref()?;
        let covers = |anchor: &AnchorBody| {
            let stands = self.beginnings.get(&anchor.first_entry);
            anchor.first_entry >= *begins && stands.is_some_and(|hash| hex(hash) == anchor.prev)
        };
        let (entry, _) = self.anchors.iter().find(|(_, anchor)| covers(anchor))?;
        (self.anchor_entry, self.anchored_from) = (Some(*entry), Some(*begins));
        let channels = [(CHANNEL.to_owned(), begins - 1), (GAPS_CHANNEL.to_owned(), u64::MAX)];
        Some(Anchor { through: 0, channels: channels.into() })
    }

    /// Tells of a beginning that no anchor covers.
    fn beginning(&mut self, is_anchored: bool) {
        if let Some((first, name)) = self.begins.take().filter(|_| !is_anchored) {
            self.find(&format!(
                "the journal begins at entry {first}, in {name}: what stood before is missing"
            ));
        }
    }

    /// Reads the whole journal; what was removed before the first that is there was removed meanwhile.
    fn read_all(
        &mut self,
        storage: &dyn Storage,
        live: bool,
        visit: &mut dyn FnMut(u64, &Hash),
    ) -> io::Result<()> {
        let (mut backwards, mut pieces) = (Backwards::new(storage, CHANNEL)?, Vec::new());
        while let Some(piece) = backwards.next_piece()? {
            pieces.push(piece);
        }
        for piece in pieces.iter().rev() {
            let read = piece.read(storage, live, CHANNEL, &mut |found| {
                let is_entry = matches!(found, Found::Message { .. });
                self.found(found);
                if is_entry {
                    visit(self.last_entry(), &self.hash);
                }
                Ok(())
            });
            match read {
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.next == 0 => {}
                read => drop(read?),
            }
        }
        Ok(())
    }

    /// Checks what an entry says of itself; answers the hash to go on from.
    fn claims(&mut self, sequence: u64, entry: &Entry, follows: bool) -> Hash {
        if entry.entry != sequence {
            self.find(&format!("entry {sequence} says that it is entry {}", entry.entry));
        }
        let Some(prev) = unhex(&entry.prev) else {
            self.find(&format!("entry {sequence} is chained to no hash: {:?}", entry.prev));
            return self.hash;
        };
        if follows && prev != self.hash {
            let last = sequence - 1;
            self.find(&format!(
                "entry {last} was altered, or entry {sequence} is not the one that followed it"
            ));
        }
        prev
    }

    fn commit(&mut self, chain: Option<Hash>, last_sequence: u64) {
        let last = self.last_entry();
        let Some(chain) = chain else {
            self.find(&format!("a commit after entry {last} has no chain"));
            return;
        };
        if last_sequence != last {
            self.find(&format!("a commit says that entry {last_sequence} is the last, but entry {last} is"));
        } else if chain != self.hash {
            self.find(&format!("entry {last} was altered: its commit says another chain"));
        }
        self.next = last_sequence.saturating_add(1);
        self.hash = chain;
    }

    fn finish(mut self, outcome: Outcome) -> JournalVerification {
        let untold = self.count - self.findings.len() as u64;
        if untold > 0 {
            self.findings.push(format!("and {untold} more"));
        }
        JournalVerification {
            outcome,
            entries: self.entries,
            first_entry: self.first_entry,
            last_entry: self.last_entry(),
            head: hex(&self.hash),
            anchored_from: self.anchored_from,
            signed_through: None,
            findings: self.findings,
        }
    }
}
