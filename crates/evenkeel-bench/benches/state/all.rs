//! All machines at once, and the way back of one.

use crate::OURS;
use crate::lamp::{LAMP, Lamp};
use evenkeel::prelude::*;
use evenkeel::state::States;
use evenkeel_bench::{Figure, Goal, Race, Samples, Suite, ns};
use std::hint::black_box;
use std::time::Instant;

const COMPONENTS: usize = 1_000;
const TIMES: usize = 2_000;
const CHANGES: usize = 8;

pub(crate) fn check(suite: &mut Suite) {
    let keel = Keel::builder("bench").without_signals().keep_process().build().unwrap();
    let left = keel.channel("left").unwrap();
    let all: Vec<_> = (0..COMPONENTS).map(|at| left.component(&format!("c{at}")).unwrap()).collect();
    for component in &all {
        component.enter(evenkeel::ComponentState::Initialising).unwrap();
        component.enter(evenkeel::ComponentState::Running).unwrap();
    }
    let turn = || {
        let began = Instant::now();
        assert!(black_box(keel.states().check()).is_sound());
        ns(began.elapsed()) / 1e6
    };
    let samples = Race::new().with(OURS, turn).run();
    suite.add(Figure::of("check/1000", "ms", &samples, OURS, 0.5).goal(Goal::Below(1.0)));
    keel.stop("enough", "the bench");
}

pub(crate) fn back(suite: &mut Suite) {
    let states = States::default();
    let builder = states.machine(&LAMP, "lamp");
    let builder = builder.compensate(Lamp::Off, Lamp::On, "off", |undo| {
        black_box(undo.sequence);
        Ok(())
    });
    let lamp = builder.compensate(Lamp::On, Lamp::Off, "on", |_| Ok(())).build().unwrap();
    let one = |is_done: bool| {
        let begin = lamp.checkpoint();
        for _ in 0..CHANGES {
            lamp.change(lamp.state().other(), "push").unwrap();
        }
        let began = Instant::now();
        if is_done {
            black_box(lamp.take_back(begin, "back").unwrap());
        } else {
            black_box(lamp.rehearse(begin).unwrap());
        }
        ns(began.elapsed()) / 1e3
    };
    let done = Race::new().with_samples(OURS, || (0..TIMES).map(|_| one(true)).collect()).run();
    let rehearsed = Race::new().with_samples(OURS, || (0..TIMES).map(|_| one(false)).collect()).run();
    let add = |suite: &mut Suite, id: &str, samples: &Samples, quantile, goal: Option<f64>| {
        let figure = Figure::of(id, "us", samples, OURS, quantile);
        suite.add(match goal {
            Some(most) => figure.goal(Goal::Below(most)),
            None => figure,
        });
    };
    add(suite, "back/p50", &done, 0.5, None);
    add(suite, "back/p99", &done, 0.99, Some(10.0));
    add(suite, "rehearse/p99", &rehearsed, 0.99, None);
}
