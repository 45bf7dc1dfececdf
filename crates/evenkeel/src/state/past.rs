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
}

#[derive(Deserialize)]
struct ChangeBody {
    machine: String,
    table: String,
    version: u32,
    fingerprint: String,
    points_max: usize,
    #[serde(flatten)]
    change: SavedChange,
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
}

impl PastMachine {
    /// Where it stands now, with nothing after that.
    pub(super) fn at(snapshot: Snapshot) -> Self {
        Self::begun(snapshot, 0)
    }

    fn begun(base: Snapshot, begun: u64) -> Self {
        Self { base, tail: VecDeque::new(), broken: None, begun }
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
                machines.into_iter().all(|machine| self.add_machine(from_entry, &machine).is_ok())
            }
            Restored::Entry(glimpse) => glimpse.parse().is_ok_and(|entry| self.add_change(&entry).is_ok()),
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

    pub(super) fn get(&self, name: &MachineName) -> Option<&PastMachine> {
        self.machines.get(name)
    }

    pub(super) fn take(&mut self, name: &MachineName) -> Option<PastMachine> {
        self.machines.remove(name)
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
                }
                return Err(error);
            }
        };
        let name = name(&body.machine);
        if self.machines.len() >= MACHINES_MAX && !self.machines.contains_key(&name) {
            self.unread += 1;
            return Ok(());
        }
        let change = body.change;
        let base = match body.snapshot {
            Some(snapshot) => Some(snapshot),
            None if change.sequence == 1 => Some(Snapshot {
                table: body.table.clone(),
                version: body.version,
                fingerprint: body.fingerprint.clone(),
                sequence: 0,
                state: change.from.clone(),
                points_max: body.points_max,
                oldest: 0,
                oldest_state: change.from.clone(),
                steps: Vec::new(),
            }),
            None => None,
        };
        if let Some(base) = base {
            let mut begun = PastMachine::begun(base, entry.entry);
            begun.push(change);
            self.machines.insert(name, begun);
            return Ok(());
        }
        let missing = || {
            let base = Snapshot {
                table: body.table.clone(),
                version: body.version,
                fingerprint: body.fingerprint.clone(),
                sequence: change.sequence - 1,
                state: change.from.clone(),
                points_max: body.points_max,
                oldest: change.sequence - 1,
                oldest_state: change.from.clone(),
                steps: Vec::new(),
            };
            let broken = Some(format!("what was before change {} is not there", change.sequence));
            PastMachine { broken, ..PastMachine::begun(base, entry.entry) }
        };
        let known = self.machines.entry(name).or_insert_with(missing);
        let (version, fingerprint) = (known.base.version, &known.base.fingerprint);
        if (version, fingerprint) != (body.version, &body.fingerprint) || known.base.table != body.table {
            let found = body.version;
            let why =
                format!("change {} is of another table, version {found}, not {version}", change.sequence);
            known.broken.get_or_insert(why);
        }
        known.push(change);
        Ok(())
    }

    fn add_snapshot(&mut self, body: &Value) -> Result<(), serde_json::Error> {
        if body.get("part").is_some() {
            // In parts it says nothing that the entries before it do not.
            return Ok(());
        }
        let SnapshotBody { from_entry, machines } = SnapshotBody::deserialize(body)?;
        machines.iter().try_for_each(|machine| self.add_machine(from_entry, machine))
    }

    fn add_machine(&mut self, from_entry: u64, body: &Value) -> Result<(), serde_json::Error> {
        let SnapshotOf { machine, channel, component, snapshot } = SnapshotOf::deserialize(body)?;
        let name = MachineName::new(channel.as_deref(), component.as_deref(), &machine);
        let Some(known) = self.machines.get_mut(&name) else {
            if self.machines.len() < MACHINES_MAX {
                self.machines.insert(name, PastMachine::begun(snapshot, 0));
            }
            return Ok(());
        };
        // It is another machine of that name since; or what is missing is missing after the snapshot.
        if known.begun > from_entry || (known.broken.is_some() && known.sequence() > snapshot.sequence) {
            return Ok(());
        }
        let mut new = PastMachine::begun(snapshot, known.begun);
        std::mem::take(&mut known.tail).into_iter().for_each(|change| new.push(change));
        *known = new;
        Ok(())
    }

    /// Each machine as a snapshot has it.
    pub(super) fn bodies(&self) -> impl Iterator<Item = Value> {
        let whole = self.machines.iter().filter(|(_, machine)| machine.broken.is_none());
        whole.map(|(name, machine)| body_of(name, &machine.newest()))
    }
}

/// A machine as a snapshot has it.
pub(super) fn body_of(name: &MachineName, snapshot: &Snapshot) -> Value {
    json!({
        "machine": name.name(), "channel": name.channel(), "component": name.component(), "snapshot": snapshot,
    })
}
