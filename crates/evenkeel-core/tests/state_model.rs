//! Machines against a naive model: everything that ever happened, in plain lists, looked through anew each time.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_core::Mono;
use evenkeel_core::state::{
    COMPONENT, Change, ChangeKind, Lapsed, Limits, Machine, Outcome, Point, RECOVERY, Refused, Rejection,
    RollbackError, SavedChange, Snapshot, State, Table,
};
use proptest::prelude::*;

const HISTORY_MAX: usize = 7;
const POINTS_MAX: usize = 5;

/// What becomes of a proposal.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Commit,
    Guard,
    Invariant,
    /// Another comes in between, and is refused; it is abandoned, and then committed too late.
    Abandon,
    /// It is dropped, and abandoned by its ticket.
    Drop,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Propose {
        to: usize,
        fate: Fate,
    },
    /// Along one of the edges there are, so that machines get somewhere.
    Follow {
        which: usize,
        fate: Fate,
    },
    /// To a number up to a little after the newest; a bit for each compensation that fails; how many are tried.
    RollBack {
        point: u64,
        fails: u32,
        tried: usize,
        is_abandoned: bool,
    },
    Save,
    Restore,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Commit),
        1 => Just(Fate::Guard),
        1 => Just(Fate::Invariant),
        1 => Just(Fate::Abandon),
        1 => Just(Fate::Drop),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..64usize, fate()).prop_map(|(to, fate)| Op::Propose { to, fate }),
        8 => (0..64usize, fate()).prop_map(|(which, fate)| Op::Follow { which, fate }),
        3 => (any::<u64>(), any::<u32>(), 0..8usize, prop::bool::weighted(0.2))
            .prop_map(|(point, fails, tried, is_abandoned)| Op::RollBack { point, fails, tried, is_abandoned }),
        1 => Just(Op::Save),
        1 => Just(Op::Restore),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Made<S> {
    from: S,
    to: S,
    is_undone: bool,
    is_rollback: bool,
}

struct Pair<S: State> {
    table: &'static Table<S>,
    machine: Machine<S>,
    now: u64,
    /// Change `n` is at `n - 1`.
    made: Vec<Made<S>>,
    /// Points older than this are gone for good.
    oldest: u64,
    /// From, to, sequence and outcome of each attempt.
    tried: Vec<(S, S, u64, Outcome)>,
    saved: (Snapshot, Vec<SavedChange>),
}

impl<S: State> Pair<S> {
    fn new(table: &'static Table<S>) -> Self {
        let machine = Machine::new(table, limits(), Mono::from_nanos(0));
        let saved = (machine.snapshot(), Vec::new());
        Self { table, machine, now: 0, made: Vec::new(), oldest: 0, tried: Vec::new(), saved }
    }

    fn now(&mut self) -> Mono {
        self.now += 1_000;
        Mono::from_nanos(self.now)
    }

    fn sequence(&self) -> u64 {
        self.made.len() as u64
    }

    fn state(&self) -> S {
        self.made.last().map_or(self.table.initial(), |made| made.to)
    }

    fn state_after(&self, sequence: u64) -> S {
        if sequence == 0 { self.table.initial() } else { self.made[sequence as usize - 1].to }
    }

    /// Every point that was not undone and is young enough.
    fn points(&self) -> Vec<u64> {
        let counts = |sequence: &u64| *sequence == 0 || !self.made[*sequence as usize - 1].is_undone;
        (self.oldest..=self.sequence()).filter(counts).collect()
    }

    fn make(&mut self, made: Made<S>) {
        self.made.push(made);
        let points = self.points();
        if points.len() > POINTS_MAX + 1 {
            self.oldest = points[points.len() - POINTS_MAX - 1];
        }
    }

    fn has_edge(&self, from: S, to: S) -> bool {
        self.table.edges().any(|(a, b, _)| (a, b) == (from, to))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Propose { to, fate } => self.propose(S::ALL[to % S::ALL.len()], fate),
            Op::Follow { which, fate } => {
                let after: Vec<S> = self.table.edges().filter(|e| e.0 == self.state()).map(|e| e.1).collect();
                if !after.is_empty() {
                    self.propose(after[which % after.len()], fate);
                }
            }
            Op::RollBack { point, fails, tried, is_abandoned } => {
                let point = Point::after(point % (self.sequence() + 3));
                self.roll_back(point, fails, tried, is_abandoned);
            }
            Op::Save => self.saved = (self.machine.snapshot(), Vec::new()),
            Op::Restore => self.restore(),
        }
        self.compare();
    }

    fn propose(&mut self, to: S, fate: Fate) {
        let (now, from) = (self.now(), self.state());
        let proposal = match self.machine.propose(now, to, "model") {
            Ok(proposal) => proposal,
            Err(refused) => {
                assert!(matches!(refused, Refused::NotAllowed { .. }), "{refused}");
                assert!(!self.has_edge(from, to), "{refused}");
                let text = refused.to_string();
                assert!(text.contains(from.name()) && text.contains(to.name()), "{text}");
                return;
            }
        };
        assert!(self.has_edge(from, to));
        assert_eq!((proposal.from(), proposal.to(), self.machine.state()), (from, to, from));
        let (later, ticket) = (self.now(), proposal.ticket());
        let outcome = match fate {
            Fate::Commit => {
                let change = self.machine.commit(later, proposal).unwrap();
                self.make(Made { from, to, is_undone: false, is_rollback: false });
                self.changed(&change, from, to, ChangeKind::Edge);
                Outcome::Done
            }
            Fate::Guard => {
                self.machine.reject(later, proposal, Rejection::Guard("no".into())).unwrap();
                Outcome::GuardRefused { why: "no".into() }
            }
            Fate::Invariant => {
                self.machine.reject(later, proposal, Rejection::Invariant("odd".into())).unwrap();
                Outcome::InvariantFailed { why: "odd".into() }
            }
            Fate::Abandon => {
                let refused = self.machine.propose(later, to, "second").unwrap_err();
                assert!(matches!(refused, Refused::UnderWay { ticket: other, .. } if other == ticket));
                assert!(self.machine.abandon(later, ticket));
                let lapsed: Lapsed<S> = self.machine.commit(later, proposal).unwrap_err();
                assert_eq!(lapsed.ticket, ticket);
                Outcome::Abandoned
            }
            Fate::Drop => {
                drop(proposal);
                assert!(self.machine.abandon(later, ticket));
                assert!(!self.machine.abandon(later, ticket));
                Outcome::Abandoned
            }
        };
        self.tried.push((from, to, self.sequence(), outcome));
    }

    fn changed(&mut self, change: &Change<S>, from: S, to: S, kind: ChangeKind) {
        assert_eq!((change.sequence, change.from, change.to), (self.sequence(), from, to));
        assert_eq!(change.kind, kind);
        assert_eq!(change.took.as_nanos(), 1_000);
        self.saved.1.push(change.saved());
    }

    fn roll_back(&mut self, point: Point, fails: u32, tried: usize, is_abandoned: bool) {
        let (from, newest) = (self.state(), self.sequence());
        let undone: Vec<u64> = (point.sequence() + 1..=newest)
            .rev()
            .filter(|n| !self.made[*n as usize - 1].is_undone && !self.made[*n as usize - 1].is_rollback)
            .collect();
        let plan = match self.machine.plan_rollback(point) {
            Ok(plan) => plan,
            Err(error) => {
                assert!(error.to_string().contains(from.name()), "{error}");
                match error {
                    RollbackError::Unknown { .. } => assert!(point.sequence() > newest),
                    RollbackError::NotRetained { .. } => assert!(point.sequence() < self.oldest),
                    RollbackError::Undone { .. } => {
                        assert!(self.made[point.sequence() as usize - 1].is_undone);
                    }
                    RollbackError::NothingToUndo { .. } => assert_eq!(undone, []),
                    other => panic!("{other}"),
                }
                return;
            }
        };
        assert!(self.points().contains(&point.sequence()));
        let to = self.state_after(point.sequence());
        assert_eq!((plan.from(), plan.to(), plan.point()), (from, to, point));
        assert_eq!(plan.steps().iter().map(|undo| undo.sequence).collect::<Vec<_>>(), undone);
        for undo in plan.steps() {
            let made = self.made[undo.sequence as usize - 1];
            assert_eq!((undo.from, undo.to), (made.from, made.to));
        }
        let (begin, end) = (self.now(), self.now());
        let mut undoing = self.machine.begin_rollback(begin, plan.clone(), "model").unwrap();
        assert!(matches!(
            self.machine.begin_rollback(begin, plan, "second"),
            Err(RollbackError::UnderWay { .. })
        ));
        for (at, sequence) in undone.iter().enumerate().take(tried) {
            assert_eq!(undoing.next_step().unwrap().sequence, *sequence);
            if fails & 1 << at == 0 {
                undoing.compensated();
            } else {
                undoing.compensation_failed("broken");
            }
        }
        let has_failed = |at: &usize| *at >= tried || fails & 1 << at != 0;
        let failed: Vec<u64> = (0..undone.len()).filter(has_failed).map(|at| undone[at]).collect();
        assert_eq!(undoing.failures().map(|failure| failure.undo.sequence).collect::<Vec<_>>(), failed);
        if is_abandoned {
            assert!(self.machine.abandon(end, undoing.ticket()));
            self.machine.finish_rollback(end, &undoing).unwrap_err();
            self.tried.push((from, to, newest, Outcome::Abandoned));
            return;
        }
        let change = self.machine.finish_rollback(end, &undoing).unwrap();
        for later in &mut self.made[point.sequence() as usize..] {
            later.is_undone = true;
        }
        self.make(Made { from, to, is_undone: false, is_rollback: true });
        let failed = failed.len();
        self.changed(&change, from, to, ChangeKind::Rollback { to: point, failed });
        self.tried.push((from, to, newest + 1, Outcome::RolledBack { to: point, failed }));
        self.machine.finish_rollback(end, &undoing).unwrap_err();
    }

    fn restore(&mut self) {
        let (now, (snapshot, tail)) = (self.now(), &self.saved);
        self.machine = Machine::restore(self.table, limits(), now, snapshot, tail).unwrap();
        let outcome = |saved: &SavedChange| {
            let to = saved.back_to.map(Point::after);
            to.map_or(Outcome::Done, |to| Outcome::RolledBack { to, failed: saved.failed })
        };
        let named = |name: &str| *S::ALL.iter().find(|state| state.name() == name).unwrap();
        let entry =
            |saved: &SavedChange| (named(&saved.from), named(&saved.to), saved.sequence, outcome(saved));
        self.tried = tail.iter().map(entry).collect();
    }

    fn compare(&self) {
        assert_eq!((self.machine.state(), self.machine.sequence()), (self.state(), self.sequence()));
        let points: Vec<_> = self.machine.points().map(|(point, _)| point.sequence()).collect();
        assert_eq!(points, self.points());
        assert!(self.machine.points().all(|(point, state)| state == self.state_after(point.sequence())));
        assert_eq!(self.machine.under_way(), None);
        self.machine.check().unwrap();
        let kept = self.tried.len().saturating_sub(HISTORY_MAX);
        let entry = |entry: &evenkeel_core::state::Entry<S>| {
            (entry.from, entry.to, entry.sequence, entry.outcome.clone())
        };
        assert_eq!(self.machine.history().map(entry).collect::<Vec<_>>(), self.tried[kept..]);
    }
}

fn limits() -> Limits {
    Limits { history_max: HISTORY_MAX, points_max: POINTS_MAX, ..Limits::default() }
}

proptest! {
    // REQ S2 S3 S4 S5
    #[test]
    fn a_component_is_what_the_naive_model_says(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new(&COMPONENT);
        ops.into_iter().for_each(|op| pair.apply(op));
    }

    // REQ S2 S3 S4 S5
    #[test]
    fn a_recovery_is_what_the_naive_model_says(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new(&RECOVERY);
        ops.into_iter().for_each(|op| pair.apply(op));
    }
}
