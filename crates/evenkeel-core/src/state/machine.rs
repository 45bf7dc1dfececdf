//! One machine: where it is, what is under way, what was.

use super::flapping::Turns;
use super::history::History;
use super::points::{Points, Step};
use super::{
    Cause, Change, ChangeKind, EdgeMetrics, Entry, Flapping, Lapsed, Limits, Outcome, Point, Proposal,
    Refused, Rejection, State, StateSet, Table, Ticket,
};
use crate::Mono;

/// A change or rollback that is under way.
#[derive(Clone, Debug)]
pub(super) struct Attempt<S> {
    pub(super) ticket: Ticket,
    pub(super) to: S,
    pub(super) cause: Cause,
    pub(super) since: Mono,
    /// The edge, unless it is a rollback.
    pub(super) edge: Option<u16>,
}

/// A state machine as a plain value; see the module's head.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::state::{COMPONENT, ComponentState, Limits, Machine};
///
/// let now = Mono::from_nanos(0);
/// let mut machine = Machine::new(&COMPONENT, Limits::default(), now);
/// let proposal = machine.propose(now, ComponentState::Initialising, "start").unwrap();
/// // Here the shell asks guards and invariants, with no lock held.
/// let change = machine.commit(now, proposal).unwrap();
/// assert_eq!((change.sequence, machine.state()), (1, ComponentState::Initialising));
///
/// let refused = machine.propose(now, ComponentState::Stopped, "skip").unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "component is Initialising and cannot become Stopped; allowed: Running, Stopping, Failed"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Machine<S: State> {
    pub(super) table: &'static Table<S>,
    pub(super) state: S,
    pub(super) sequence: u64,
    pub(super) tickets: u64,
    now: Mono,
    since: Mono,
    refused: u64,
    under_way: Option<Attempt<S>>,
    pub(super) history: History<S>,
    pub(super) points: Points<S>,
    /// By edge; made when one is first tried, for there may be many.
    metrics: Vec<Option<Box<EdgeMetrics<S>>>>,
    turns: Turns,
    limits: Limits,
}

impl<S: State> Machine<S> {
    /// One in its table's initial state. Limits outside of what is allowed are set to the nearest that is.
    ///
    /// # Panics
    /// If a state's [`State::index`] is not its position in [`State::ALL`]; enums of
    /// [`states!`](crate::states) have it right.
    pub fn new(table: &'static Table<S>, limits: Limits, now: Mono) -> Self {
        let points = Points::new((0, table.initial()), limits.clamped().points_max);
        Self::with_points(table, limits, now, points)
    }

    pub(super) fn with_points(
        table: &'static Table<S>,
        limits: Limits,
        now: Mono,
        points: Points<S>,
    ) -> Self {
        let is_in_place = |(at, state): (usize, &S)| state.index() == at;
        assert!(
            S::ALL.iter().enumerate().all(is_in_place),
            "{}: index() is not the position in ALL",
            table.name()
        );
        let limits = limits.clamped();
        let (sequence, state) = points.newest();
        Self {
            table,
            state,
            sequence,
            tickets: sequence,
            now,
            since: now,
            refused: 0,
            under_way: None,
            history: History::new(limits.history_max),
            points,
            metrics: table.edges().map(|_| None).collect(),
            turns: Turns::new(table, limits.flapping),
            limits,
        }
    }

    /// Its table.
    pub fn table(&self) -> &'static Table<S> {
        self.table
    }

    /// Where it is.
    pub fn state(&self) -> S {
        self.state
    }

    /// Since when: the last change, or its making.
    pub fn since(&self) -> Mono {
        self.since
    }

    /// How many changes it has made, which is the number of the last.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The states that may follow.
    pub fn allowed(&self) -> StateSet<S> {
        self.table.followers(self.state)
    }

    /// Whether it may rest where it is for good.
    pub fn is_final(&self) -> bool {
        self.table.is_final(self.state)
    }

    /// What is under way: its ticket, where it leads, and since when.
    pub fn under_way(&self) -> Option<(Ticket, S, Mono)> {
        self.under_way.as_ref().map(|attempt| (attempt.ticket, attempt.to, attempt.since))
    }

    /// What was tried, the oldest first; as much of it as [`Limits::history_max`] allows.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Entry<S>> + ExactSizeIterator {
        self.history.entries()
    }

    /// What became of the changes along each edge, in the order of [`Table::edges`].
    pub fn metrics(&self) -> Vec<EdgeMetrics<S>> {
        let edges = self.metrics.iter().zip(self.table.edges());
        edges
            .map(|(known, (from, to, _))| known.as_deref().copied().unwrap_or(EdgeMetrics::new(from, to)))
            .collect()
    }

    /// Whether it was said to go to and fro, and is not calm again.
    pub fn is_flapping(&self, now: Mono) -> bool {
        self.turns.is_flapping(now)
    }

    /// How many proposals and rollbacks were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// This moment, to come back to.
    pub fn checkpoint(&self) -> Point {
        Point::after(self.sequence)
    }

    /// The points that it can be taken back to, the oldest first; the last is the present one.
    pub fn points(&self) -> impl Iterator<Item = (Point, S)> {
        let later = self.points.steps().map(|step| (step.sequence, step.to));
        std::iter::once(self.points.base())
            .chain(later)
            .map(|(sequence, state)| (Point::after(sequence), state))
    }

    /// Begins a change: the table allows it, and no other is under way. `now` never goes back.
    ///
    /// # Errors
    /// [`Refused`], naming where the machine is, where it was to go and what is allowed.
    pub fn propose(&mut self, now: Mono, to: S, cause: impl Into<Cause>) -> Result<Proposal<S>, Refused<S>> {
        let now = self.clock(now);
        match self.may_go(now, to) {
            Ok(edge) => {
                let cause = cause.into();
                let ticket = self.begin(now, to, cause.clone(), Some(edge));
                Ok(Proposal { ticket, from: self.state, to, cause })
            }
            Err(refused) => {
                self.count_refused();
                Err(refused)
            }
        }
    }

    /// Makes a change: guards let it through and invariants hold.
    ///
    /// # Errors
    /// [`Lapsed`] if it was abandoned before; the state is as it was.
    pub fn commit(&mut self, now: Mono, proposal: Proposal<S>) -> Result<Change<S>, Lapsed<S>> {
        let Proposal { ticket, from, to, cause } = proposal;
        let attempt = self.take(ticket, from, to)?;
        let now = self.clock(now);
        self.points.push(Step { sequence: self.sequence + 1, from, to, is_mark: false });
        let found = attempt.edge.and_then(|edge| self.turns.changed(now, edge));
        let flapping = found.map(|(returns, within)| Flapping { state: to, other: from, returns, within });
        let (at, since) = (now, attempt.since);
        self.arrive(now, attempt, Outcome::Done);
        let (sequence, took) = (self.sequence, at.since(since));
        Ok(Change { sequence, from, to, cause, at, took, kind: ChangeKind::Edge, flapping })
    }

    /// Ends an attempt that a guard refused, or after which an invariant did not hold. The state is as it was.
    ///
    /// # Errors
    /// [`Lapsed`] if it was abandoned before.
    pub fn reject(&mut self, now: Mono, proposal: Proposal<S>, why: Rejection) -> Result<(), Lapsed<S>> {
        let Proposal { ticket, from, to, cause: _cause } = proposal;
        let attempt = self.take(ticket, from, to)?;
        let now = self.clock(now);
        self.record(
            now,
            attempt,
            match why {
                Rejection::Guard(why) => Outcome::GuardRefused { why },
                Rejection::Invariant(why) => Outcome::InvariantFailed { why },
                Rejection::Journal(why) => Outcome::NotJournalled { why },
            },
        );
        Ok(())
    }

    /// Ends an attempt, a rollback too, of which nobody will say what came; whether it was under way. The state is
    /// as it was: what compensations of an abandoned rollback have undone by then stays undone, and is for the
    /// shell to report.
    pub fn abandon(&mut self, now: Mono, ticket: Ticket) -> bool {
        let now = self.clock(now);
        let attempt = self.under_way.take_if(|attempt| attempt.ticket == ticket);
        let was_under_way = attempt.is_some();
        if let Some(attempt) = attempt {
            self.record(now, attempt, Outcome::Abandoned);
        }
        was_under_way
    }

    /// The edge, if a change along it may begin.
    fn may_go(&self, now: Mono, to: S) -> Result<u16, Refused<S>> {
        let (table, from) = (self.table.name(), self.state);
        if let Some(Attempt { ticket, to: other, since, .. }) = self.under_way {
            return Err(Refused::UnderWay { table, from, to, other, ticket, since });
        }
        let Some(edge) = self.table.edge(from, to) else {
            return Err(Refused::NotAllowed { table, from, to, allowed: self.allowed() });
        };
        let window = self.limits.flapping.window;
        match self.turns.refused_until(now, edge) {
            Some(until) => Err(Refused::Flapping { table, from, to, window, until }),
            None => Ok(edge),
        }
    }

    /// Puts an attempt under way; nothing else is.
    pub(super) fn begin(&mut self, since: Mono, to: S, cause: Cause, edge: Option<u16>) -> Ticket {
        assert!(self.under_way.is_none(), "invariant: one change at a time");
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.under_way = Some(Attempt { ticket, to, cause, since, edge });
        ticket
    }

    /// Takes what is under way, if it is this.
    pub(super) fn take(&mut self, ticket: Ticket, from: S, to: S) -> Result<Attempt<S>, Lapsed<S>> {
        let (table, state) = (self.table.name(), self.state);
        let is_it = |attempt: &mut Attempt<S>| attempt.ticket == ticket && state == from && attempt.to == to;
        self.under_way.take_if(is_it).ok_or(Lapsed { table, ticket, from, to, state })
    }

    /// The machine is where the attempt leads; its step or mark has been put on the points.
    pub(super) fn arrive(&mut self, now: Mono, attempt: Attempt<S>, outcome: Outcome) {
        let from = std::mem::replace(&mut self.state, attempt.to);
        self.sequence += 1;
        self.since = now;
        if attempt.edge.is_none() {
            self.turns.rolled_back();
        }
        assert!(
            self.points.newest() == (self.sequence, self.state),
            "invariant: the points lead to the state"
        );
        self.record_from(from, now, attempt, outcome);
    }

    fn record(&mut self, now: Mono, attempt: Attempt<S>, outcome: Outcome) {
        self.record_from(self.state, now, attempt, outcome);
    }

    fn record_from(&mut self, from: S, at: Mono, attempt: Attempt<S>, outcome: Outcome) {
        let Attempt { ticket, to, cause, since, edge } = attempt;
        let took = at.since(since);
        if let Some(edge) = edge {
            let metrics = &mut self.metrics[usize::from(edge)];
            metrics.get_or_insert_with(|| Box::new(EdgeMetrics::new(from, to))).count(&outcome, took);
        }
        self.history.push(Entry { ticket, sequence: self.sequence, from, to, cause, at, took, outcome });
    }

    pub(super) fn count_refused(&mut self) {
        self.refused += 1;
    }

    /// The latest moment it was told of.
    pub(super) fn clock(&mut self, now: Mono) -> Mono {
        self.now = self.now.max(now);
        self.now
    }
}
