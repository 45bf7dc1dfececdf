//! Which state may follow which.
//!
//! Invariants, held by [`Table::new`]: 1 to 64 states, each with a name of its own; no edge twice, none from a state
//! to itself; every state can be reached from the initial one, and has a way out unless it is final.
//!
//! A table is made while compiling, where there is no way to ask a user's enum for anything but constants: so edges
//! are written as positions, and `state_table!` is what people use.

use super::{State, StateSet};
use std::fmt::Write as _;
use std::marker::PhantomData;

mod sound;

/// A change that a table allows, as positions in [`State::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Position of the state that it leaves.
    pub from: u8,
    /// Position of the state that it leads to.
    pub to: u8,
    /// What usually causes it, for diagrams; may be empty.
    pub cause: &'static str,
}

/// Which state may follow which; see [`state_table!`](crate::state_table).
///
/// ```
/// use evenkeel_core::state::Table;
///
/// evenkeel_core::states! { pub enum Door { Open, Shut, Gone } }
/// static DOOR: Table<Door> = evenkeel_core::state_table! {
///     Door, "door", version 1, initial Open, final [Gone],
///     Open -> Shut: "push",
///     Shut -> Open: "pull",
///     Open -> Gone: "fire",
/// };
/// assert!(DOOR.allows(Door::Open, Door::Shut));
/// assert_eq!(DOOR.followers(Door::Shut).to_string(), "Open");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Table<S> {
    name: &'static str,
    version: u32,
    fingerprint: u64,
    initial: u8,
    finals: u64,
    edges: &'static [Edge],
    /// By state: those that may follow.
    followers: [u64; 64],
    /// By state: how many edges leave those before it.
    offsets: [u16; 64],
    kind: PhantomData<S>,
}

/// Why a table is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Too few or too many states.
    #[error("table {table} has {found} states and {names} names: 1 to 64 are allowed, each with one name")]
    Size {
        /// The table.
        table: &'static str,
        /// How many states it has.
        found: usize,
        /// How many names.
        names: usize,
    },
    /// A name that cannot stand in a diagram.
    #[error(
        "table {table}: {name:?} is no name of a state: a letter, then letters, digits and underscores are"
    )]
    Name {
        /// The table.
        table: &'static str,
        /// The name.
        name: &'static str,
    },
    /// Two states of one name.
    #[error("table {table}: two states are called {name}")]
    SameName {
        /// The table.
        table: &'static str,
        /// The name.
        name: &'static str,
    },
    /// A position at which there is no state.
    #[error("table {table} has no state at position {position}: they end with {last}")]
    Unknown {
        /// The table.
        table: &'static str,
        /// The position.
        position: u8,
        /// The last state.
        last: &'static str,
    },
    /// An edge that leads nowhere else.
    #[error("table {table}: an edge leads from {state} to itself, which is no change")]
    Loop {
        /// The table.
        table: &'static str,
        /// The state.
        state: &'static str,
    },
    /// An edge is given twice.
    #[error("table {table}: the edge from {from} to {to} is given twice")]
    Duplicate {
        /// The table.
        table: &'static str,
        /// Where it begins.
        from: &'static str,
        /// Where it leads.
        to: &'static str,
    },
    /// No edges lead there from the initial state.
    #[error("table {table}: nothing leads from {initial} to {state}: add an edge, or leave it out")]
    Unreachable {
        /// The table.
        table: &'static str,
        /// The state.
        state: &'static str,
        /// The initial one.
        initial: &'static str,
    },
    /// No edge leaves it, and it is not final.
    #[error("table {table}: no edge leaves {state}: add one, or call it final")]
    DeadEnd {
        /// The table.
        table: &'static str,
        /// The state.
        state: &'static str,
    },
}

/// Makes a [`Table`](crate::state::Table) for a `static`, or fails to compile and names the states that are wrong.
///
/// ```compile_fail,E0080
/// evenkeel_core::states! { pub enum Door { Open, Shut } }
/// // `Shut` has no way out, and is not final.
/// static DOOR: evenkeel_core::state::Table<Door> = evenkeel_core::state_table! {
///     Door, "door", version 1, initial Open, final [],
///     Open -> Shut: "push",
/// };
/// ```
#[macro_export]
macro_rules! state_table {
    ($states:ident, $name:literal, version $version:literal, initial $initial:ident, final [$($final:ident),* $(,)?],
     $($from:ident -> $to:ident : $cause:literal),+ $(,)?) => {
        const {
            match $crate::state::Table::<$states>::new(
                $name,
                $version,
                $states::$initial as u8,
                &[$($states::$final as u8),*],
                &[$($crate::state::Edge { from: $states::$from as u8, to: $states::$to as u8, cause: $cause }),+],
            ) {
                Ok(table) => table,
                Err(error) => error.stop(),
            }
        }
    };
}

impl<S: State> Table<S> {
    /// A sound table, or what is wrong with it. States are given by their positions in [`State::ALL`]; a final
    /// state is one that a machine may rest in for good, and may have ways out all the same.
    ///
    /// # Errors
    /// [`TableError`], naming the states.
    pub const fn new(
        name: &'static str,
        version: u32,
        initial: u8,
        finals: &[u8],
        edges: &'static [Edge],
    ) -> Result<Self, TableError> {
        match sound::check::<S>(name, initial, finals, edges) {
            Ok((finals, followers, offsets)) => {
                let fingerprint = sound::fingerprint(name, S::NAMES, initial, finals, &followers);
                let kind = PhantomData;
                Ok(Self { name, version, fingerprint, initial, finals, edges, followers, offsets, kind })
            }
            Err(error) => Err(error),
        }
    }

    /// What it is a table of.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its version, which its owner raises with every change to it.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// A number that differs when name, states, edges, initial or final states do (FNV-1a, 64 bits). Causes and
    /// the order of edges do not count.
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Where a machine begins.
    pub const fn initial(&self) -> S {
        S::ALL[self.initial as usize]
    }

    /// Where it may rest for good.
    pub const fn finals(&self) -> StateSet<S> {
        StateSet::from_bits(self.finals)
    }

    /// Whether a machine may rest there for good.
    pub fn is_final(&self, state: S) -> bool {
        self.finals().contains(state)
    }

    /// The states that may follow.
    pub fn followers(&self, from: S) -> StateSet<S> {
        StateSet::from_bits(self.followers[from.index()])
    }

    /// Whether one state may follow the other.
    pub fn allows(&self, from: S, to: S) -> bool {
        self.followers(from).contains(to)
    }

    /// Every edge in the order of states: from, to, and its usual cause.
    pub fn edges(&self) -> impl Iterator<Item = (S, S, &'static str)> {
        let leaving = |from: S| self.followers(from).iter().map(move |to| (from, to));
        S::ALL.iter().flat_map(move |from| leaving(*from)).map(|(from, to)| (from, to, self.cause(from, to)))
    }

    /// An edge's number in the order of [`Table::edges`], if there is one.
    pub(super) fn edge(&self, from: S, to: S) -> Option<u16> {
        let (following, bit) = (self.followers[from.index()], 1u64 << to.index());
        let before = (following & (bit - 1)).count_ones() as u16;
        (following & bit != 0).then(|| self.offsets[from.index()] + before)
    }

    fn cause(&self, from: S, to: S) -> &'static str {
        let is_it =
            |edge: &&Edge| usize::from(edge.from) == from.index() && usize::from(edge.to) == to.index();
        self.edges.iter().find(is_it).map_or("", |edge| edge.cause)
    }

    /// A state diagram in mermaid's words; the same table gives the same text.
    pub fn mermaid(&self) -> String {
        let mut out = format!("stateDiagram-v2\n    [*] --> {}\n", self.initial().name());
        for (from, to, cause) in self.edges() {
            let _ = write!(out, "    {} --> {}", from.name(), to.name());
            let _ = if cause.is_empty() { writeln!(out) } else { writeln!(out, " : {cause}") };
        }
        for state in self.finals().iter() {
            let _ = writeln!(out, "    {} --> [*]", state.name());
        }
        out
    }
}
