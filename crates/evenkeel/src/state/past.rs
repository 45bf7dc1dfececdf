//! What a journal knows of machines that ran before.
//!
//! Entries are folded as they come, in bounded memory: of each machine a snapshot, and the latest changes after it. States
//! are names here; whether they are those of the table is asked when the machine is made again. What does not
//! follow is never guessed: it makes that one machine's past broken, with the reason.

use super::{MachineName, Snapshot};
use crate::journal::{Entry, Restored, restore};
use evenkeel_core::state::SavedChange;
use evenkeel_log::storage::Storage;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Changes of one machine that are kept one by one; the older ones are in its snapshot.
const TAIL_MAX: usize = 64;
/// Most machines that are remembered.
const MACHINES_MAX: usize = 65_536;

/// Machines that ran before, out of a journal's entries.
///
/// ```
/// use evenkeel::journal::{Journal, JournalOptions};
/// use evenkeel::state::{COMPONENT, ComponentState, Past, States};
/// use evenkeel::threads::ThreadCoordinator;
/// use evenkeel_log::storage::DirStorage;
/// use std::{sync::Arc, time::Duration};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let storage = Arc::new(DirStorage::create(dir.path())?);
/// let (journal, _) = Journal::open(storage.clone(), JournalOptions::default())?;
/// let all = States::new(ThreadCoordinator::default(), Some(journal.clone()), Past::default());
/// let power = all.machine(&COMPONENT, "power").build()?;
/// power.change_durable(ComponentState::Running, "plugged in", Duration::from_secs(10))?;
/// journal.finish(Duration::from_secs(10))?;
///
/// // The next start.
/// let past = Past::read(&*storage)?;
/// let again = States::new(ThreadCoordinator::default(), None, past);
/// assert_eq!(again.machine(&COMPONENT, "power").build()?.state(), ComponentState::Running);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Past {
    machines: BTreeMap<MachineName, PastMachine>,
    unread: u64,
}

/// One machine that ran before.
#[derive(Clone, Debug)]
pub struct PastMachine {
    /// Where it stood before the changes of `tail`.
    base: Snapshot,
    tail: VecDeque<SavedChange>,
    /// What does not follow, if something does not.
    broken: Option<String>,
    /// The entry that it began anew with, if it did.
    begun: u64,
    /// The highest change that was met, whether it follows or not, and the entry that was met last.
    met: u64,
    last: u64,
    /// Whether the journal lacks changes before this moment.
    pub(super) is_untold: bool,
}

/// An entry of a change; read without a value on the way, since starting waits for it.
#[derive(Deserialize)]
struct ChangeEntry<'a> {
    entry: u64,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    component: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: ChangeBody<'a>,
}

#[derive(Deserialize)]
struct ChangeBody<'a> {
    #[serde(borrow)]
    machine: Cow<'a, str>,
    #[serde(borrow)]
    table: Cow<'a, str>,
    version: u32,
    #[serde(borrow)]
    fingerprint: Cow<'a, str>,
    points_max: usize,
    sequence: u64,
    from: String,
    to: String,
    cause: String,
    back_to: Option<u64>,
    failed: usize,
    snapshot: Option<Snapshot>,
}

#[derive(Deserialize)]
struct SnapshotBody {
    from_entry: u64,
    machines: Vec<Value>,
}

#[derive(Deserialize)]
struct SnapshotOf {
    machine: String,
    channel: Option<String>,
    component: Option<String>,
    snapshot: Snapshot,
    /// Why it was not whole.
    broken: Option<String>,
}

impl PastMachine {
    /// Where it stands now, with nothing after that; whether the journal lacks something of it.
    pub(super) fn at(snapshot: Snapshot, is_untold: bool) -> Self {
        Self { is_untold, ..Self::begun(snapshot, 0) }
    }

    fn begun(base: Snapshot, begun: u64) -> Self {
        let met = base.sequence;
        Self { base, tail: VecDeque::new(), broken: None, begun, met, last: begun, is_untold: false }
    }

    /// Where it stood, and the changes after that.
    ///
    /// # Errors
    /// What does not follow.
    pub fn whole(&self) -> Result<(&Snapshot, &VecDeque<SavedChange>), &str> {
        self.broken.as_deref().map_or(Ok((&self.base, &self.tail)), Err)
    }

    /// Where it stood last, as far as that is known.
    pub fn newest(&self) -> Snapshot {
        let mut newest = self.base.clone();
        for change in &self.tail {
            if newest.apply(change).is_err() {
                break;
            }
        }
        newest
    }

    fn sequence(&self) -> u64 {
        self.tail.back().map_or(self.base.sequence, |change| change.sequence)
    }

    fn push(&mut self, change: SavedChange) {
        let newest = self.sequence();
        self.met = self.met.max(change.sequence);
        if self.broken.is_some() || change.sequence <= newest {
            return;
        }
        if change.sequence != newest + 1 {
            let found = change.sequence;
            self.broken = Some(format!("after change {newest} comes change {found}: some are missing"));
            return;
        }
        self.tail.push_back(change);
        if self.tail.len() > TAIL_MAX
            && let Some(oldest) = self.tail.pop_front()
            && let Err(why) = self.base.apply(&oldest)
        {
            self.broken = Some(why);
        }
    }
}

impl Past {
    /// What a journal says: its newest snapshot, and what came after that. Somebody may be writing to it.
    ///
    /// # Errors
    /// What the storage says. Damage is left out; a machine that it concerns is not whole then.
    pub fn read(storage: &dyn Storage) -> io::Result<Self> {
        let mut past = Self::default();
        restore(storage, true, &[super::record::STATE_KIND], &mut |restored| {
            past.add_restored(restored);
            Ok(())
        })?;
        Ok(past)
    }

    fn add_restored(&mut self, restored: Restored<'_>) {
        let is_read = match restored {
            Restored::Snapshot { from_entry, machines, .. } => {
                self.add_machines(from_entry, &machines).is_ok()
            }
            Restored::Entry(glimpse) => match glimpse.read::<ChangeEntry<'_>>() {
                Ok(ChangeEntry { entry, channel, component, body }) => {
                    let name = MachineName::new(channel.as_deref(), component.as_deref(), &body.machine);
                    self.take_change(name, entry, body);
                    true
                }
                // What is wrong with it is told with its machine.
                Err(_) => glimpse.parse().is_ok_and(|entry| self.add_change(&entry).is_ok()),
            },
        };
        self.unread += u64::from(!is_read);
    }

    /// What these entries say, all of a journal in order.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut past = Self::default();
        entries.into_iter().for_each(|entry| past.add(entry));
        past
    }

    /// Takes the next entry in. Those that are not about machines change nothing.
    pub fn add(&mut self, entry: &Entry) {
        let is_read = match entry.kind.as_str() {
            super::record::STATE_KIND => self.add_change(entry),
            "snapshot" => self.add_snapshot(&entry.body),
            _ => Ok(()),
        };
        self.unread += u64::from(is_read.is_err());
    }

    /// Entries about machines that could not be read.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Each machine, and what is known of it.
    pub fn machines(&self) -> impl Iterator<Item = (&MachineName, &PastMachine)> {
        self.machines.iter()
    }

    pub(super) fn names(&self) -> Vec<MachineName> {
        self.machines.keys().cloned().collect()
    }

    pub(super) fn take(&mut self, name: &MachineName) -> Option<PastMachine> {
        self.machines.remove(name)
    }

    pub(super) fn get(&self, name: &MachineName) -> Option<&PastMachine> {
        self.machines.get(name)
    }

    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    /// Takes a machine in, unless there are too many.
    pub(super) fn put(&mut self, name: MachineName, machine: PastMachine) {
        if self.machines.len() < MACHINES_MAX {
            self.machines.insert(name, machine);
        }
    }

    fn add_change(&mut self, entry: &Entry) -> Result<(), serde_json::Error> {
        let name =
            |machine: &str| MachineName::new(entry.channel.as_deref(), entry.component.as_deref(), machine);
        let body = match ChangeBody::deserialize(&entry.body) {
            Ok(body) => body,
            Err(error) => {
                // Whatever it was, what follows does not follow.
                let machine = entry.body.get("machine").and_then(Value::as_str).map(name);
                if let Some(known) = machine.and_then(|name| self.machines.get_mut(&name)) {
                    known.broken = Some(format!("entry {} cannot be read: {error}", entry.entry));
                    // Which change it is, nobody knows: a snapshot has it that was begun after it.
                    (known.met, known.last) = (u64::MAX, entry.entry);
                }
                return Err(error);
            }
        };
        self.take_change(name(&body.machine), entry.entry, body);
        Ok(())
    }

    fn take_change(&mut self, name: MachineName, entry: u64, body: ChangeBody<'_>) {
        if self.machines.len() >= MACHINES_MAX && !self.machines.contains_key(&name) {
            self.unread += 1;
            return;
        }
        let ChangeBody { table, version, fingerprint, points_max, .. } = body;
        let ChangeBody { sequence, from, to, cause, back_to, failed, .. } = body;
        let change = SavedChange { sequence, from, to, cause, back_to, failed };
        // Where it stood before this change, with no way back.
        let before = change.sequence.saturating_sub(1);
        let bare = || Snapshot {
            table: table.to_string(),
            version,
            fingerprint: fingerprint.to_string(),
            sequence: before,
            state: change.from.clone(),
            points_max,
            oldest: before,
            oldest_state: change.from.clone(),
            steps: Vec::new(),
        };
        let base = body.snapshot.or_else(|| (change.sequence == 1).then(bare));
        if let Some(base) = base {
            let mut begun = PastMachine::begun(base, entry);
            begun.push(change);
            self.machines.insert(name, begun);
            return;
        }
        let missing = || {
            let broken = Some(format!("what was before change {} is not there", change.sequence));
            PastMachine { broken, ..PastMachine::begun(bare(), entry) }
        };
        let known = self.machines.entry(name).or_insert_with(missing);
        let base = &known.base;
        if (base.version, &*base.fingerprint, &*base.table) != (version, &*fingerprint, &*table) {
            let expected = base.version;
            let why = format!("change {sequence} is of another table, version {version}, not {expected}");
            known.broken.get_or_insert(why);
        }
        // It may go back further from here on. Points that it had no more before do no harm.
        known.base.points_max = known.base.points_max.max(points_max);
        known.last = entry;
        known.push(change);
    }

    fn add_snapshot(&mut self, body: &Value) -> Result<(), serde_json::Error> {
        if body.get("part").is_some() {
            // In parts it says nothing that the entries before it do not.
            return Ok(());
        }
        let SnapshotBody { from_entry, machines } = SnapshotBody::deserialize(body)?;
        self.add_machines(from_entry, &machines)
    }

    /// Takes all of them in; the error is the first of one that cannot be read, and so is not whole.
    fn add_machines(&mut self, from_entry: u64, bodies: &[Value]) -> Result<(), serde_json::Error> {
        let mut all = Ok(());
        for body in bodies {
            let added = self.add_machine(from_entry, body).inspect_err(|error| self.cannot_read(body, error));
            all = all.and(added);
        }
        all
    }

    /// What is not known is not taken for one that never was.
    fn cannot_read(&mut self, body: &Value, error: &serde_json::Error) {
        let text = |field: &str| body.get(field).and_then(Value::as_str);
        let Some(machine) = text("machine") else { return };
        let name = MachineName::new(text("channel"), text("component"), machine);
        let base = Snapshot {
            table: String::new(),
            version: 0,
            fingerprint: String::new(),
            sequence: 0,
            state: String::new(),
            points_max: 1,
            oldest: 0,
            oldest_state: String::new(),
            steps: Vec::new(),
        };
        if self.machines.len() < MACHINES_MAX || self.machines.contains_key(&name) {
            let known = self.machines.entry(name).or_insert_with(|| PastMachine::begun(base, 0));
            known.broken = Some(format!("what a snapshot has of it cannot be read: {error}"));
        }
    }

    fn add_machine(&mut self, from_entry: u64, body: &Value) -> Result<(), serde_json::Error> {
        let SnapshotOf { machine, channel, component, snapshot, broken } = SnapshotOf::deserialize(body)?;
        let name = MachineName::new(channel.as_deref(), component.as_deref(), &machine);
        let Some(known) = self.machines.get_mut(&name) else {
            if self.machines.len() < MACHINES_MAX {
                self.machines.insert(name, PastMachine { broken, ..PastMachine::begun(snapshot, 0) });
            }
            return Ok(());
        };
        // It is another machine of that name since.
        if known.begun > from_entry {
            return Ok(());
        }
        let last = known.last;
        // What is missing is missing after the snapshot.
        if last > from_entry && known.broken.is_some() && known.met > snapshot.sequence {
            return Ok(());
        }
        // It was taken long before it was written down: the changes that follow it are not kept one by one any more.
        if last > from_entry && known.broken.is_none() && known.base.sequence > snapshot.sequence {
            return Ok(());
        }
        let mut new = PastMachine { broken, last, ..PastMachine::begun(snapshot, known.begun) };
        if last > from_entry {
            std::mem::take(&mut known.tail).into_iter().for_each(|change| new.push(change));
        }
        *known = new;
        Ok(())
    }

    /// Each machine as a snapshot has it.
    pub(super) fn bodies(&self) -> impl Iterator<Item = Value> {
        self.machines.iter().map(|(name, machine)| {
            let mut body = body_of(name, &machine.newest());
            // Left out, it would be taken for one that never was.
            if let (Some(why), Some(body)) = (&machine.broken, body.as_object_mut()) {
                body.insert("broken".to_owned(), why.as_str().into());
            }
            body
        })
    }
}

/// A machine as a snapshot has it.
pub(super) fn body_of(name: &MachineName, snapshot: &Snapshot) -> Value {
    json!({
        "machine": name.name(), "channel": name.channel(), "component": name.component(), "snapshot": snapshot,
    })
}
