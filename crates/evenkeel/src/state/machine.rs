//! The handles of a machine.

use super::inner::Inner;
use super::turn::Pending as Begun;
use super::{
    Cause, Change, ChangeError, Changed, EdgeMetrics, Entry, MachineName, Observation, ObserveError,
    ObserverStatus, Point, Rollback, Snapshot, State, StateSet, Table, TakeBackError, TakenBack,
};
use evenkeel_core::Mono;
use evenkeel_core::state::Inconsistent;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A state machine that threads share: whoever has it may read, observe and change it. Cheap to clone; all clones
/// are one.
///
/// ```
/// use evenkeel::state::{States, Table, state_table, states};
///
/// states! { pub enum Door { Open, Shut, Locked } }
/// static DOOR: Table<Door> = state_table! {
///     Door, "door", version 1, initial Open, final [],
///     Open -> Shut: "push",
///     Shut -> Open: "pull",
///     Shut -> Locked: "key",
///     Locked -> Shut: "key",
/// };
///
/// let all = States::default();
/// let door = all.machine(&DOOR, "door")
///     .guard("hands free", |change| match &**change.cause {
///         "kick" => Err("hands, please".to_owned()),
///         _ => Ok(()),
///     })
///     .compensate(Door::Open, Door::Shut, "reopen", |_undo| Ok(()))
///     .build()?;
/// let _told = door.observe("log", |change| println!("{} -> {}", change.from, change.to))?;
///
/// let begin = door.checkpoint();
/// door.change(Door::Shut, "wind")?;
/// assert!(door.change(Door::Open, "kick").unwrap_err().to_string().contains("hands, please"));
/// assert_eq!(door.state(), Door::Shut);
///
/// let back = door.take_back(begin, "the wind has gone")?;
/// assert_eq!((back.to, door.state(), door.sequence()), (Door::Open, Door::Open, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StateMachine<S: State>(pub(super) StateReader<S>);

/// A state machine that can be read and observed, and not changed. Cheap to clone.
///
/// ```
/// use evenkeel::state::{COMPONENT, ComponentState, States};
///
/// let power = States::default().machine(&COMPONENT, "power").build()?;
/// let shown = power.reader();
/// power.change(ComponentState::Running, "plugged in")?;
/// assert_eq!(shown.state(), ComponentState::Running);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StateReader<S: State>(pub(super) Arc<Inner<S>>);

impl<S: State> Clone for StateMachine<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: State> Clone for StateReader<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: State> Deref for StateMachine<S> {
    type Target = StateReader<S>;

    fn deref(&self) -> &StateReader<S> {
        &self.0
    }
}

impl<S: State> fmt::Debug for StateMachine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, sequence) = self.0.0.seen();
        f.debug_struct("StateMachine")
            .field("name", &self.name())
            .field("state", &state.name())
            .field("sequence", &sequence)
            .finish()
    }
}

impl<S: State> fmt::Debug for StateReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, sequence) = self.0.seen();
        write!(f, "StateReader({}: {} after {sequence})", self.name(), state.name())
    }
}

impl<S: State> StateMachine<S> {
    pub(super) fn new(inner: Arc<Inner<S>>) -> Self {
        Self(StateReader(inner))
    }

    fn inner(&self) -> &Arc<Inner<S>> {
        &self.0.0
    }

    /// The same without the right to change it.
    pub fn reader(&self) -> StateReader<S> {
        self.0.clone()
    }

    /// Changes it. While another change is under way it waits for its turn, for as long as the machine was made with
    /// ([`patience`](super::MachineBuilder::patience)), 5 s if nothing was said. The observers that are told in the caller's
    /// thread have seen it when this returns, unless another thread is telling them.
    ///
    /// # Errors
    /// [`ChangeError`]; it is where it was.
    pub fn change(&self, to: S, cause: impl Into<Cause>) -> Result<Changed<S>, ChangeError<S>> {
        self.inner().change(to, &cause.into(), self.inner().options.patience)
    }

    /// The same, and waits for its turn for so long at most.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn change_within(
        &self,
        to: S,
        cause: impl Into<Cause>,
        patience: Duration,
    ) -> Result<Changed<S>, ChangeError<S>> {
        self.inner().change(to, &cause.into(), patience)
    }

    /// The same, and waits for no turn.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn try_change(&self, to: S, cause: impl Into<Cause>) -> Result<Changed<S>, ChangeError<S>> {
        self.inner().change(to, &cause.into(), Duration::ZERO)
    }

    /// Changes it, and waits until that is on disk: a crash from then on does not undo it.
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ChangeError::NotDurable`] when it was made, and is not known to be on disk in time.
    pub fn change_durable(
        &self,
        to: S,
        cause: impl Into<Cause>,
        timeout: Duration,
    ) -> Result<Changed<S>, ChangeError<S>> {
        let changed = self.change(to, cause)?;
        changed.wait_durable(timeout)?;
        Ok(changed)
    }

    /// Begins a change: its turn has come, the table allows it, and the guards let it. Nobody sees it, and others wait, until
    /// it is committed or dropped.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn propose(&self, to: S, cause: impl Into<Cause>) -> Result<Pending<'_, S>, ChangeError<S>> {
        let inner = self.inner();
        let begun = inner.begin(to, &cause.into(), inner.options.patience);
        let mut begun = begun.map_err(|refused| inner.tell_refused(refused))?;
        inner.ask_guards(&mut begun)?;
        Ok(Pending(begun))
    }

    /// Takes it back to a point. The compensations of the changes since are called in reverse order, with nothing held, and
    /// after one that fails the others are called all the same. Then the state changes once, and observers are
    /// told.
    ///
    /// # Errors
    /// [`TakeBackError::Failed`] when it is back and compensations failed; with the others it is where it was.
    pub fn take_back(&self, to: Point, cause: impl Into<Cause>) -> Result<TakenBack<S>, TakeBackError<S>> {
        let inner = self.inner();
        inner.roll_back(to, &cause.into(), inner.options.patience)
    }
}

/// A change that the guards let through; dropped, it is abandoned.
#[must_use = "dropped, it is abandoned"]
pub struct Pending<'a, S: State>(Begun<'a, S>);

impl<S: State> fmt::Debug for Pending<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.0.inner.name).finish()
    }
}

impl<S: State> Pending<'_, S> {
    /// Asks the invariants and makes the change.
    ///
    /// # Errors
    /// As [`change`](StateMachine::change); [`ChangeError::Lapsed`] if others did not wait that long.
    pub fn commit(self) -> Result<Changed<S>, ChangeError<S>> {
        let inner = self.0.inner;
        inner.commit(self.0)
    }
}

impl<S: State> StateReader<S> {
    /// Its name.
    pub fn name(&self) -> &MachineName {
        &self.0.name
    }

    /// Its table.
    pub fn table(&self) -> &'static Table<S> {
        self.0.table
    }

    /// Where it is, without a lock.
    pub fn state(&self) -> S {
        self.0.seen().0
    }

    /// How many changes it has made, without a lock.
    pub fn sequence(&self) -> u64 {
        self.0.seen().1
    }

    /// Both, of one moment, without a lock.
    pub fn state_and_sequence(&self) -> (S, u64) {
        self.0.seen()
    }

    /// The states that may follow.
    pub fn allowed(&self) -> StateSet<S> {
        self.table().followers(self.state())
    }

    /// Since when it is where it is.
    pub fn since(&self) -> Mono {
        self.0.with(|core| core.machine.since())
    }

    /// This moment, to come back to.
    pub fn checkpoint(&self) -> Point {
        Point::after(self.sequence())
    }

    /// The points that it can be taken back to, the oldest first.
    pub fn points(&self) -> Vec<(Point, S)> {
        self.0.with(|core| core.machine.points().collect())
    }

    /// What taking it back would undo, without doing it.
    ///
    /// # Errors
    /// [`TakeBackError::Refused`]: there is no way back to that point.
    pub fn rehearse(&self, point: Point) -> Result<Rollback<S>, TakeBackError<S>> {
        self.0.rehearse(point)
    }

    /// What was tried, the oldest first; as much of it as its limits allow.
    pub fn history(&self) -> Vec<Entry<S>> {
        self.0.with(|core| core.machine.history().cloned().collect())
    }

    /// What became of the changes along each edge.
    pub fn metrics(&self) -> Vec<EdgeMetrics<S>> {
        self.0.with(|core| core.machine.metrics())
    }

    /// How many changes were not even tried: not in the table, out of turn, or flapping.
    pub fn refused(&self) -> u64 {
        self.0.with(|core| core.machine.refused())
    }

    /// The machine as text.
    pub fn snapshot(&self) -> Snapshot {
        self.0.with(|core| core.machine.snapshot())
    }

    /// Whether it is what its own changes say.
    ///
    /// # Errors
    /// [`Inconsistent`]: a defect of this library.
    pub fn check(&self) -> Result<(), Inconsistent> {
        self.0.with(|core| core.machine.check())
    }

    /// Has `f` called with every change after this moment, once each and in order, with nothing held: by the thread that
    /// changes the machine, after the change, or by another that is telling already. It may change the same
    /// machine: that is told after this. What panics is contained and told. What takes longer than
    /// [`slow_after`](super::MachineBuilder::slow_after) is told of, and gets a mailbox that a job empties; when
    /// that is full the observer is detached, and that is told.
    ///
    /// # Errors
    /// [`ObserveError`]: there are as many as there may be.
    pub fn observe(
        &self,
        name: impl Into<Arc<str>>,
        f: impl Fn(&Change<S>) + Send + Sync + 'static,
    ) -> Result<Observation<S>, ObserveError> {
        self.0.observe(name.into(), Box::new(f))
    }

    /// How each observer stands.
    pub fn observers(&self) -> Vec<ObserverStatus> {
        self.0.observers()
    }

    /// Waits until all observers have seen all changes up to now, those with mailboxes too; whether they have. From inside
    /// of an observer it does not wait, for that would be for itself.
    #[must_use = "says whether they have"]
    pub fn settled(&self, timeout: Duration) -> bool {
        self.0.settle(timeout)
    }
}
