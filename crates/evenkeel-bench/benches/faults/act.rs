//! How soon something is done about a fault, and somebody told.

use crate::OURS;
use crate::house::House;
use evenkeel::faults::{Code, Severity};
use evenkeel_bench::{Figure, Goal, Race, Suite};
use std::sync::mpsc::channel;
use std::time::Instant;

const FAULTS: usize = 100;
const GOAL_US: f64 = 1_000.0;

pub(crate) fn begin(suite: &mut Suite) {
    let house = House::new(false);
    let (tell, begun) = channel::<Instant>();
    let left = house.keel.channel("left").unwrap();
    let mic = left.supervise("mic").restart(move |_| tell.send(Instant::now())).register().unwrap();
    let one = || {
        let reports = Instant::now();
        mic.fault(Code::EXITED, Severity::Critical).text("it ended").report();
        let us = begun.recv().unwrap().duration_since(reports).as_secs_f64() * 1e6;
        while mic.is_troubled() {
            mic.succeeded();
            std::thread::yield_now();
        }
        us
    };
    let samples = Race::new().with_samples(OURS, || (0..FAULTS).map(|_| one()).collect()).run();
    suite.add(Figure::of("begin/p50", "us", &samples, OURS, 0.5).goal(Goal::Below(GOAL_US)));
    suite.add(Figure::of("begin/p99", "us", &samples, OURS, 0.99).goal(Goal::Below(GOAL_US)));
}

pub(crate) fn told(suite: &mut Suite) {
    std::panic::set_hook(Box::new(|_| ()));
    let house = House::new(false);
    let (tell, told) = channel::<Instant>();
    house.keel.faults().on_fault(move |_| _ = tell.send(Instant::now()));
    let jobs = house.keel.channel("left").unwrap().jobs().unwrap();
    let one = || {
        let (says, panics) = channel();
        let job = jobs.job("panics").run(move |_| {
            let _ = says.send(Instant::now());
            std::panic::resume_unwind(Box::new("as it comes"));
        });
        assert!(job.unwrap().wait().is_err());
        let panics = panics.recv().unwrap();
        told.recv().unwrap().duration_since(panics).as_secs_f64() * 1e6
    };
    let samples = Race::new().with_samples(OURS, || (0..FAULTS).map(|_| one()).collect()).run();
    suite.add(Figure::of("told/panic/p50", "us", &samples, OURS, 0.5).goal(Goal::Below(GOAL_US)));
    suite.add(Figure::of("told/panic/p99", "us", &samples, OURS, 0.99).goal(Goal::Below(GOAL_US)));
}
