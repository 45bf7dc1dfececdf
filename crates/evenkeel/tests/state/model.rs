//! A machine against a naive model: everything that was done, in plain lists.

use super::observers::Seen;
use super::{LAMP, Lamp};
use evenkeel::state::{Limits, Observation, Point, State, StateMachine, States};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
enum Op {
    /// To a state; whether guard and invariant say yes.
    Change(usize, bool, bool),
    /// So many changes back; whether the compensations fail.
    Back(u64, bool),
    Observe,
    /// One of those who observe leaves.
    Leave(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..4usize, prop::bool::weighted(0.85), prop::bool::weighted(0.9)).prop_map(|(a, b, c)| Op::Change(a, b, c)),
        2 => (0..6u64, any::<bool>()).prop_map(|(a, b)| Op::Back(a, b)),
        1 => Just(Op::Observe),
        1 => (0..8usize).prop_map(Op::Leave),
    ]
}

/// What the closures of the machine do next: guard, invariant, compensations.
#[derive(Default)]
struct Say([AtomicU8; 3]);

impl Say {
    fn answer(&self, at: usize) -> Result<(), String> {
        if self.0[at].load(Ordering::SeqCst) == 0 { Ok(()) } else { Err("no".to_owned()) }
    }
}

struct Model {
    /// State after change `n` is at `n`; what was undone is no point.
    states: Vec<(Lamp, bool)>,
    /// The changes that count, the oldest first.
    steps: Vec<(u64, Lamp, Lamp)>,
}

struct Pair {
    lamp: StateMachine<Lamp>,
    say: Arc<Say>,
    undone: Arc<Mutex<Vec<u64>>>,
    model: Model,
    observers: Vec<(Observation<Lamp>, Seen, u64)>,
}

impl Pair {
    fn new() -> Self {
        let (say, undone): (Arc<Say>, Arc<Mutex<Vec<u64>>>) = Default::default();
        let limits = Limits { points_max: 10_000, ..Limits::default() };
        let mut builder = States::default().machine(&LAMP, "lamp").limits(limits);
        let (guards, holds) = (say.clone(), say.clone());
        builder =
            builder.guard("guard", move |_| guards.answer(0)).invariant("holds", move |_| holds.answer(1));
        for (from, to, _) in LAMP.edges() {
            let (undoes, says) = (undone.clone(), say.clone());
            builder = builder.compensate(from, to, "undo", move |undo| {
                assert_eq!((undo.from, undo.to), (from, to));
                undoes.lock().unwrap().push(undo.sequence);
                says.answer(2)
            });
        }
        let model = Model { states: vec![(Lamp::Off, true)], steps: Vec::new() };
        Self { lamp: builder.build().unwrap(), say, undone, model, observers: Vec::new() }
    }

    fn state(&self) -> Lamp {
        self.model.states.last().unwrap().0
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Change(to, guard, holds) => self.change(Lamp::ALL[to], guard, holds),
            Op::Back(by, fails) => self.back(by, fails),
            Op::Observe => {
                let seen = Seen::default();
                let sees = seen.clone();
                let observed = self.lamp.observe("one", move |change| sees.add(change.sequence)).unwrap();
                self.observers.push((observed, seen, self.lamp.sequence()));
            }
            Op::Leave(which) if which < self.observers.len() => drop(self.observers.remove(which)),
            Op::Leave(_) => {}
        }
        let sequence = self.model.states.len() as u64 - 1;
        assert_eq!(self.lamp.state_and_sequence(), (self.state(), sequence));
        for (_, seen, since) in &self.observers {
            assert_eq!(seen.all(), (since + 1..=sequence).collect::<Vec<_>>());
        }
        self.lamp.check().unwrap();
    }

    fn change(&mut self, to: Lamp, guard: bool, holds: bool) {
        self.say.0[0].store(u8::from(!guard), Ordering::SeqCst);
        self.say.0[1].store(u8::from(!holds), Ordering::SeqCst);
        let from = self.state();
        let is_made = self.lamp.change(to, "model").is_ok();
        let is_allowed = LAMP.edges().any(|(a, b, _)| (a, b) == (from, to));
        assert_eq!(is_made, is_allowed && guard && holds);
        if is_made {
            self.model.states.push((to, true));
            self.model.steps.push((self.model.states.len() as u64 - 1, from, to));
        }
    }

    fn back(&mut self, by: u64, fails: bool) {
        self.say.0[2].store(u8::from(fails), Ordering::SeqCst);
        let newest = self.model.states.len() as u64 - 1;
        let point = newest.saturating_sub(by);
        let (to, is_point) = self.model.states[point as usize];
        let undo: Vec<u64> =
            self.model.steps.iter().rev().map(|step| step.0).filter(|at| *at > point).collect();
        self.undone.lock().unwrap().clear();
        let result = self.lamp.take_back(Point::after(point), "model");
        if !is_point || undo.is_empty() {
            assert!(result.is_err() && self.undone.lock().unwrap().is_empty());
            return;
        }
        assert_eq!(result.is_ok(), !fails);
        assert_eq!(*self.undone.lock().unwrap(), undo);
        self.model.steps.retain(|step| step.0 <= point);
        self.model.states[point as usize + 1..].iter_mut().for_each(|state| state.1 = false);
        self.model.states.push((to, true));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // REQ S2, REQ S3, REQ S4, REQ S7
    #[test]
    fn a_shared_machine_is_what_the_naive_model_says(ops in prop::collection::vec(op(), 1..60)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
    }
}
