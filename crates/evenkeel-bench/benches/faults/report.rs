//! What a report costs who reports.

use crate::OURS;
use crate::house::House;
use evenkeel::Channel;
use evenkeel::faults::{Code, Severity};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use std::time::{Duration, Instant};

const REPORTS: usize = 200;
const STORM: usize = 10_000;
const GOAL_NS: f64 = 2_000.0;

#[derive(Debug)]
struct Outer(std::io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the microphone does not answer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn report(channel: &Channel, error: &Outer) {
    channel.fault(Code::SOURCE, Severity::Warning).component("mic").cause(error).report();
}

fn error() -> Outer {
    Outer(std::io::Error::from_raw_os_error(5))
}

pub(crate) fn measure(suite: &mut Suite) {
    let house = House::new(false);
    let (left, error) = (house.keel.channel("left").unwrap(), error());
    let one = || {
        house.calm();
        // sleep: who sleeps is woken by the report, which is what this is about.
        std::thread::sleep(Duration::from_micros(200));
        let begins = Instant::now();
        report(&left, &error);
        ns(begins.elapsed())
    };
    let samples = Race::new().with_samples(OURS, || (0..REPORTS).map(|_| one()).collect()).run();
    suite.add(Figure::of("report/idle/p50", "ns", &samples, OURS, 0.5).goal(Goal::Below(GOAL_NS)));
    suite.add(Figure::of("report/idle/p99", "ns", &samples, OURS, 0.99).goal(Goal::Below(GOAL_NS)));
    let hot = || {
        let begins = Instant::now();
        report(&left, &error);
        ns(begins.elapsed())
    };
    let samples = Race::new().with_samples(OURS, || (0..REPORTS).map(|_| hot()).collect()).run();
    suite.add(Figure::of("report/hot/p50", "ns", &samples, OURS, 0.5).goal(Goal::Below(GOAL_NS)));
    suite.add(Figure::of("report/hot/p99", "ns", &samples, OURS, 0.99).goal(Goal::Below(GOAL_NS)));
}

pub(crate) fn storm(suite: &mut Suite) {
    let house = House::new(true);
    let (left, error) = (house.keel.channel("left").unwrap(), error());
    let storm = || {
        house.calm();
        let begins = Instant::now();
        (0..STORM).for_each(|_| report(&left, &error));
        let reported = ns(begins.elapsed()) / STORM as f64;
        house.calm();
        vec![reported, begins.elapsed().as_secs_f64() * 1e3]
    };
    let mut looked_at = Vec::new();
    let samples = Race::new()
        .with(OURS, || {
            let both = storm();
            looked_at.push(both[1]);
            both[0]
        })
        .run();
    suite.add(Figure::of("report/storm", "ns", &samples, OURS, 0.5).goal(Goal::Below(GOAL_NS)));
    let mut turns = looked_at.into_iter().skip(1).cycle();
    let samples = Race::new().with(OURS, || turns.next().unwrap()).run();
    suite.add(Figure::of("storm/looked at", "ms", &samples, OURS, 0.5));
}
