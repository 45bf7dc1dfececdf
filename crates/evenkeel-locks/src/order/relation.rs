//! Which level may be locked while which is held, as the compiler sees it.
//!
//! [`lock_order!`](crate::lock_order) writes a [`Relation`] for every pair of its levels, with the
//! answer as a type; [`After`] is the answer `Holds<true>`. So each pair has exactly one answer, and a
//! second one, written by hand, is a conflict of implementations.

use super::{Cap, Level, Root};

/// The answer for one pair of levels.
#[derive(Debug)]
pub enum Holds<const ANSWER: bool> {}

/// What [`lock_order!`](crate::lock_order) says of a pair.
pub trait Relation<Held>: Level {
    /// `Holds<true>` if this level may be locked while `Held` is held.
    type Answer;
}

/// The answer that lets a lock be taken.
#[diagnostic::on_unimplemented(
    message = "`{Wanted}` cannot be locked while `{Held}` is held",
    label = "the `lock_order!` does not say `{Held} < {Wanted}`",
    note = "lock `{Wanted}` first, or let go of `{Held}` before; several locks of one level go through \
            `lock_all`"
)]
pub trait Yes<Wanted, Held> {}

impl<Wanted, Held> Yes<Wanted, Held> for Holds<true> {}

/// This level may be locked while `Held` is the innermost that is held.
///
/// Said by [`lock_order!`](crate::lock_order) alone; every level is after [`Root`].
///
/// ```
/// use evenkeel_locks::{After, Cap, Level, Mutex, lock_order, with_root};
///
/// lock_order! { State < History; }
///
/// /// Takes whatever is held, as long as `History` comes after it.
/// fn length<Held: Level>(history: &Mutex<History, Vec<u32>>, held: &mut Cap<Held>) -> usize
/// where
///     History: After<Held>,
/// {
///     history.lock(held).len()
/// }
///
/// let history = Mutex::new(vec![1, 2]);
/// assert_eq!(with_root(|root| length(&history, root)), 2);
/// ```
#[diagnostic::on_unimplemented(
    message = "nothing says whether `{Self}` may be locked while `{Held}` is held",
    label = "`{Self}` and `{Held}` are not in the same `lock_order!`",
    note = "levels of one program belong into one `lock_order!`; `also {Held} < {Self};` relates two of them"
)]
pub trait After<Held>: Level {}

impl<L, Held> After<Held> for L
where
    Held: Level,
    L: Relation<Held>,
    L::Answer: Yes<L, Held>,
{
}

/// Fails to compile, when it is called in a constant, where the levels contradict a relation that was
/// written by hand.
pub(crate) const fn assert_order<L: Level, Held: Level>() {
    assert!(Held::RANK < L::RANK, "a relation written by hand contradicts the ranks");
    assert!(
        Held::IS_ASYNC || !L::IS_ASYNC,
        "a relation written by hand has a lock awaited under one that is not"
    );
}

/// Fails to compile, when it is called in a constant, for a level whose locks are awaited.
pub(crate) const fn assert_blocks<L: Level>() {
    assert!(!L::IS_ASYNC, "a lock of an `async` level is awaited: it is one of `evenkeel_locks::r#async`");
}

/// Takes the capability of `Held` for as long as a lock of the level `L` is held.
///
/// Fails to compile where the ranks contradict a relation that was written by hand.
#[inline]
pub(crate) fn give_up<L: After<Held>, Held: Level>(held: &mut Cap<Held>) {
    const { assert_order::<L, Held>() };
    let _ = held;
}

impl Relation<Root> for Root {
    type Answer = Holds<false>;
}
