//! Whether a table is sound, decided while compiling: loops by hand, for iterators are not to be had there.

use super::{Edge, State, TableError};

/// Final states, followers by state, offsets by state.
type Masks = (u64, [u64; 64], [u16; 64]);

pub(super) const fn check<S: State>(
    table: &'static str,
    initial: u8,
    finals: &[u8],
    edges: &[Edge],
) -> Result<Masks, TableError> {
    let names = S::NAMES;
    if names.is_empty() || names.len() > 64 || names.len() != S::ALL.len() {
        return Err(TableError::Size { table, found: S::ALL.len(), names: names.len() });
    }
    if let Err(error) = check_names(table, names) {
        return Err(error);
    }
    let final_bits = match bits(table, names, initial, finals) {
        Ok(bits) => bits,
        Err(error) => return Err(error),
    };
    let followers = match followers(table, names, edges) {
        Ok(followers) => followers,
        Err(error) => return Err(error),
    };
    let reached = reached(initial, &followers);
    let (mut offsets, mut before, mut at) = ([0u16; 64], 0u16, 0);
    while at < names.len() {
        let state = names[at];
        if reached & (1 << at) == 0 {
            return Err(TableError::Unreachable { table, state, initial: names[initial as usize] });
        }
        if followers[at] == 0 && final_bits & (1 << at) == 0 {
            return Err(TableError::DeadEnd { table, state });
        }
        offsets[at] = before;
        before += followers[at].count_ones() as u16;
        at += 1;
    }
    Ok((final_bits, followers, offsets))
}

const fn check_names(table: &'static str, names: &[&'static str]) -> Result<(), TableError> {
    let mut at = 0;
    while at < names.len() {
        let name = names[at];
        if !is_name(name.as_bytes()) {
            return Err(TableError::Name { table, name });
        }
        let mut other = 0;
        while other < at {
            if is_same(name.as_bytes(), names[other].as_bytes()) {
                return Err(TableError::SameName { table, name });
            }
            other += 1;
        }
        at += 1;
    }
    Ok(())
}

const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !(name[at].is_ascii_alphanumeric() || name[at] == b'_') {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && name[0].is_ascii_alphabetic()
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The final states, once they and the initial one are known to exist.
const fn bits(
    table: &'static str,
    names: &[&'static str],
    initial: u8,
    finals: &[u8],
) -> Result<u64, TableError> {
    let last = names[names.len() - 1];
    if initial as usize >= names.len() {
        return Err(TableError::Unknown { table, position: initial, last });
    }
    let (mut bits, mut at) = (0u64, 0);
    while at < finals.len() {
        if finals[at] as usize >= names.len() {
            return Err(TableError::Unknown { table, position: finals[at], last });
        }
        bits |= 1 << finals[at];
        at += 1;
    }
    Ok(bits)
}

const fn followers(
    table: &'static str,
    names: &[&'static str],
    edges: &[Edge],
) -> Result<[u64; 64], TableError> {
    let last = names[names.len() - 1];
    let (mut followers, mut at) = ([0u64; 64], 0);
    while at < edges.len() {
        let Edge { from, to, .. } = edges[at];
        if from as usize >= names.len() {
            return Err(TableError::Unknown { table, position: from, last });
        }
        if to as usize >= names.len() {
            return Err(TableError::Unknown { table, position: to, last });
        }
        let (from, to) = (from as usize, to as usize);
        if from == to {
            return Err(TableError::Loop { table, state: names[from] });
        }
        if followers[from] & (1 << to) != 0 {
            return Err(TableError::Duplicate { table, from: names[from], to: names[to] });
        }
        followers[from] |= 1 << to;
        at += 1;
    }
    Ok(followers)
}

/// All states that edges lead to from the initial one, and itself.
const fn reached(initial: u8, followers: &[u64; 64]) -> u64 {
    let (mut reached, mut before) = (1u64 << initial, 0u64);
    while reached != before {
        before = reached;
        let mut at = 0;
        while at < 64 {
            if before & (1 << at) != 0 {
                reached |= followers[at];
            }
            at += 1;
        }
    }
    reached
}

const fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    // A byte that no name has: `ab`, `c` is not `a`, `bc`.
    (hash ^ 0xff).wrapping_mul(0x0100_0000_01b3)
}

pub(super) const fn fingerprint(
    table: &str,
    names: &[&str],
    initial: u8,
    finals: u64,
    followers: &[u64; 64],
) -> u64 {
    let mut hash = mix(0xcbf2_9ce4_8422_2325, table.as_bytes());
    let mut at = 0;
    while at < names.len() {
        hash = mix(hash, names[at].as_bytes());
        hash = mix(hash, &followers[at].to_le_bytes());
        at += 1;
    }
    mix(mix(hash, &[initial]), &finals.to_le_bytes())
}

/// A message put together while compiling, where nothing is formatted.
struct Message {
    bytes: [u8; 256],
    length: usize,
}

impl Message {
    const fn of(parts: &[&str]) -> Self {
        let (mut bytes, mut length, mut part) = ([0; 256], 0, 0);
        while part < parts.len() {
            let text = parts[part].as_bytes();
            let mut at = 0;
            while at < text.len() && length < bytes.len() {
                bytes[length] = text[at];
                length += 1;
                at += 1;
            }
            part += 1;
        }
        Self { bytes, length }
    }

    const fn stop(&self) -> ! {
        match str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => panic!("{}", text),
            Err(_) => panic!("a table of states is not sound"),
        }
    }
}

impl TableError {
    /// Fails, while compiling, with a message that names the states.
    ///
    /// # Panics
    /// Always.
    pub const fn stop(self) -> ! {
        let message = match self {
            Self::Size { table, .. } => {
                Message::of(&["table ", table, " does not have 1 to 64 states with a name each"])
            }
            Self::Name { table, name } => Message::of(&["table ", table, ": no name of a state: ", name]),
            Self::SameName { table, name } => {
                Message::of(&["table ", table, ": two states are called ", name])
            }
            Self::Unknown { table, last, .. } => {
                Message::of(&["table ", table, ": a position of a state lies after the last one, ", last])
            }
            Self::Loop { table, state } => {
                Message::of(&["table ", table, ": an edge leads to itself: ", state])
            }
            Self::Duplicate { table, from, to } => {
                Message::of(&["table ", table, ": an edge is given twice: ", from, " -> ", to])
            }
            Self::Unreachable { table, state, initial } => {
                Message::of(&["table ", table, ": nothing leads from ", initial, " to ", state])
            }
            Self::DeadEnd { table, state } => {
                Message::of(&["table ", table, ": no edge leaves ", state, ", and it is not final"])
            }
        };
        message.stop()
    }
}
