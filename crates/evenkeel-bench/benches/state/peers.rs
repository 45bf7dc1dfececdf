//! What others do of the same.

use crate::change::each;
use evenkeel_bench::{Race, Suite};
use std::hint::black_box;
use std::process::Command;
use std::sync::Mutex;

pub(crate) const TRANSITIONS: &str = "transitions (Python)";
/// Changes that Python makes.
const PYTHON: &str = "\
import sys, time
from transitions import Machine
class Lamp:
    power = True
    def has_power(self): return self.power
lamp = Lamp()
Machine(model=lamp, states=['off', 'on'], initial='off', transitions=[
    dict(trigger='push', source='off', dest='on', conditions='has_power'),
    dict(trigger='push', source='on', dest='off', conditions='has_power')])
took = []
for turn in range(22000):
    began = time.perf_counter_ns()
    lamp.push()
    took.append(time.perf_counter_ns() - began)
took = sorted(took[2000:])
print(took[len(took) // 2], took[len(took) * 99 // 100])
";

/// An enum and a flag under a mutex.
struct Bare {
    is_on: bool,
    has_power: bool,
}

impl Bare {
    fn push(&mut self) -> Result<(), &'static str> {
        match (self.is_on, self.has_power) {
            (_, false) => Err("no power"),
            (false, true) => {
                self.is_on = true;
                Ok(())
            }
            (true, true) => {
                self.is_on = false;
                Ok(())
            }
        }
    }
}

/// Those that can run in this process.
pub(crate) fn enter(race: Race<'_>, times: usize) -> Race<'_> {
    let bare = Mutex::new(Bare { is_on: false, has_power: true });
    let race = race.with_samples("match, std mutex", move || {
        each(times, || _ = black_box(black_box(&bare).lock().unwrap().push()))
    });
    #[cfg(feature = "peers")]
    let race = {
        let mut lamp = statig::lamp();
        race.with_samples("statig 0.3", move || each(times, || statig::push(black_box(&mut lamp))))
    };
    race
}

#[cfg(feature = "peers")]
mod statig {
    use statig::blocking::StateMachine;
    use statig::prelude::*;

    pub(super) struct Lamp {
        has_power: bool,
    }

    pub(super) struct Push;

    #[state_machine(initial = "State::off()")]
    impl Lamp {
        #[state]
        fn off(&mut self, event: &Push) -> Response<State> {
            let Push = event;
            if self.has_power { Transition(State::on()) } else { Handled }
        }

        #[state]
        fn on(&mut self, event: &Push) -> Response<State> {
            let Push = event;
            if self.has_power { Transition(State::off()) } else { Handled }
        }
    }

    pub(super) fn lamp() -> StateMachine<Lamp> {
        Lamp { has_power: true }.state_machine()
    }

    pub(super) fn push(lamp: &mut StateMachine<Lamp>) {
        lamp.handle(&Push);
    }
}

/// Median and 99th percentile of Python's, in nanoseconds; skipped where that is not installed.
pub(crate) fn transitions(suite: &mut Suite) -> Option<(f64, f64)> {
    let ran = Command::new("python3").args(["-c", PYTHON]).output();
    let text = ran
        .ok()
        .filter(|ran| ran.status.success())
        .map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned());
    let both = text.and_then(|text| {
        let mut figures = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        figures.next().zip(figures.next())
    });
    if both.is_none() {
        suite.skip("transitions: Python has no package of that name here");
    }
    both
}
