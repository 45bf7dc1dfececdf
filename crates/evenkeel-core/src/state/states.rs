//! What an enum of states is, and sets of them.

use std::fmt;
use std::marker::PhantomData;

/// A user's enum of 1 to 64 states; [`states!`](crate::states) declares one.
///
/// ```
/// use evenkeel_core::state::State;
///
/// evenkeel_core::states! {
///     /// A door.
///     pub enum Door {
///         /// One can go through.
///         Open,
///         /// One cannot.
///         Shut,
///     }
/// }
/// assert_eq!(Door::ALL, [Door::Open, Door::Shut]);
/// assert_eq!(Door::Shut.name(), "Shut");
/// ```
pub trait State: Copy + Eq + fmt::Debug + Send + Sync + 'static {
    /// All of them, each once.
    const ALL: &'static [Self];
    /// Their names, in the same order: a letter, then letters, digits and underscores of ASCII.
    const NAMES: &'static [&'static str];

    /// Its position in [`State::ALL`].
    fn index(self) -> usize;

    /// Its name.
    fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Declares an enum of states and makes it a [`State`](crate::state::State), with its name as text.
///
/// See [`State`](crate::state::State) for an example.
#[macro_export]
macro_rules! states {
    ($(#[$about:meta])* $access:vis enum $name:ident { $($(#[$doc:meta])* $state:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $access enum $name { $($(#[$doc])* $state),+ }

        impl $crate::state::State for $name {
            const ALL: &'static [Self] = &[$(Self::$state),+];
            const NAMES: &'static [&'static str] = &[$(stringify!($state)),+];

            fn index(self) -> usize {
                self as usize
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str($crate::state::State::name(*self))
            }
        }
    };
}

/// The state of a name.
pub(super) fn named<S: State>(name: &str) -> Option<S> {
    S::NAMES.iter().position(|known| *known == name).map(|at| S::ALL[at])
}

/// A set of states, in their order; as text `Open, Shut`, or `none`.
///
/// ```
/// use evenkeel_core::state::{CLEANUP, CleanupState};
///
/// let after = CLEANUP.followers(CleanupState::ClosingLogs);
/// assert!(after.contains(CleanupState::Completed));
/// assert_eq!(after.to_string(), "Completed, Failed");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StateSet<S> {
    bits: u64,
    kind: PhantomData<S>,
}

impl<S: State> StateSet<S> {
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self { bits, kind: PhantomData }
    }

    /// Whether the state is one of them.
    pub fn contains(self, state: S) -> bool {
        self.bits & (1 << state.index()) != 0
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.bits.count_ones() as usize
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Each of them, in their order.
    pub fn iter(self) -> impl Iterator<Item = S> {
        S::ALL.iter().copied().filter(move |state| self.contains(*state))
    }
}

impl<S: State> fmt::Display for StateSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (at, state) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            f.write_str(state.name())?;
        }
        Ok(())
    }
}

impl<S: State> fmt::Debug for StateSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
