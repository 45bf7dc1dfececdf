//! Grouping against a naive model: each channel on its own, everything looked at at every entry.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const SETTLE: u64 = 60 * SECOND;

/// What a story says, as the model sees it.
#[derive(Clone, Debug)]
enum Act {
    Start,
    Report,
    Nothing,
    Fault(usize, bool, usize),
    ChildFailed(usize, bool),
    Child(usize),
    Runs(usize, usize),
    Breaks(usize, usize),
    Isolate(usize),
    Release(usize),
}

#[derive(Clone, Debug)]
struct Naive {
    first: u64,
    last: (u64, u64),
    well: Option<(u64, u64)>,
    faults: u64,
    /// `usize::MAX` is the channel's own.
    broken: BTreeSet<usize>,
    isolated: bool,
    given_up: bool,
}

type Told = (u64, u64, Ended, u64);

impl Naive {
    fn close(&self, ended: Ended) -> Told {
        let (last, _) = self.well.unwrap_or(self.last);
        let ended = match (self.well, ended) {
            (Some(_), _) => Ended::Recovered,
            (None, Ended::Stopped | Ended::Open) if self.isolated => Ended::Isolated,
            (None, Ended::Stopped | Ended::Open) if self.given_up => Ended::Failed,
            (None, ended) => ended,
        };
        (self.first, last, ended, self.faults)
    }

    fn is_over(&self, now: u64) -> bool {
        let (_, since) = self.well.unwrap_or(self.last);
        !self.isolated && !self.given_up && now >= since + SETTLE
    }

    fn all_well(&mut self, here: (u64, u64)) {
        self.broken.clear();
        self.last = here;
        if !self.isolated {
            self.well = self.well.or(Some(here));
        }
    }

    fn breaks(&mut self, what: usize, here: (u64, u64)) {
        self.well = None;
        self.last = here;
        self.broken.insert(what);
    }

    fn take(&mut self, act: &Act, here: (u64, u64)) {
        match *act {
            Act::Fault(_, grave, component) => {
                self.faults += 1;
                if grave {
                    self.breaks(component, here);
                }
            }
            Act::ChildFailed(_, again) => {
                self.faults += 1;
                self.given_up |= !again;
                self.breaks(usize::MAX, here);
            }
            Act::Child(_) => {
                self.given_up = false;
                self.all_well(here);
            }
            Act::Breaks(_, component) => self.breaks(component, here),
            Act::Runs(_, component) => {
                if self.broken.remove(&component) && self.broken.iter().all(|what| *what == usize::MAX) {
                    self.all_well(here);
                }
            }
            Act::Isolate(_) => {
                self.isolated = true;
                self.well = None;
                self.last = here;
            }
            Act::Release(_) => {
                self.isolated = false;
                self.given_up = false;
                self.all_well(here);
            }
            Act::Start | Act::Report | Act::Nothing => {}
        }
    }
}

fn channel_of(act: &Act) -> Option<usize> {
    match *act {
        Act::Fault(channel, ..) | Act::ChildFailed(channel, _) | Act::Child(channel) => Some(channel),
        Act::Runs(channel, _) | Act::Breaks(channel, _) => Some(channel),
        Act::Isolate(channel) | Act::Release(channel) => Some(channel),
        Act::Start | Act::Report | Act::Nothing => None,
    }
}

fn naive(acts: &[(u64, Act)]) -> BTreeSet<Told> {
    let (mut told, mut open, mut now) = (BTreeSet::new(), BTreeMap::<usize, Naive>::new(), 0);
    let mut was_report = true;
    for (at, (time, act)) in acts.iter().enumerate() {
        let entry = at as u64 + 1;
        let close = |open: &mut BTreeMap<usize, Naive>, told: &mut BTreeSet<Told>, ended| {
            told.extend(open.values().map(|naive| naive.close(ended)));
            open.clear();
        };
        if matches!(act, Act::Start) {
            close(&mut open, &mut told, if was_report { Ended::Stopped } else { Ended::Crashed });
        }
        now = now.max(*time);
        let over: Vec<usize> =
            open.iter().filter(|(_, naive)| naive.is_over(now)).map(|(at, _)| *at).collect();
        told.extend(
            over.iter().filter_map(|channel| open.remove(channel)).map(|naive| naive.close(Ended::Quiet)),
        );
        if let Some(channel) = channel_of(act) {
            if matches!(act, Act::Fault(_, true, _) | Act::ChildFailed(..)) {
                open.entry(channel).or_insert(Naive {
                    first: entry,
                    last: (entry, now),
                    well: None,
                    faults: 0,
                    broken: BTreeSet::new(),
                    isolated: false,
                    given_up: false,
                });
            }
            if let Some(naive) = open.get_mut(&channel) {
                naive.take(act, (entry, now));
            }
        }
        was_report = matches!(act, Act::Report);
        if was_report {
            close(&mut open, &mut told, Ended::Stopped);
        }
    }
    told.extend(open.values().map(|naive| naive.close(Ended::Open)));
    told
}

fn act(rng: &mut fastrand::Rng) -> Act {
    let (channel, component) = (rng.usize(0..3), rng.usize(0..3));
    match rng.u32(0..40) {
        0 => Act::Start,
        1 => Act::Report,
        2..6 => Act::Nothing,
        6..14 => Act::Fault(channel, rng.u32(0..4) > 0, component),
        14..18 => Act::ChildFailed(channel, rng.u32(0..4) > 0),
        18..22 => Act::Child(channel),
        22..32 => Act::Runs(channel, component),
        32..36 => Act::Breaks(channel, component),
        36..38 => Act::Isolate(channel),
        _ => Act::Release(channel),
    }
}

fn tell(story: &mut Story, act: &Act, id: u64) {
    let channel = |channel: usize| format!("c{channel}");
    let place = |channel: usize, component: usize| format!("c{channel}/x{component}");
    match *act {
        Act::Start => story.say("start", "-", json!({})),
        Act::Report => story.say("report", "-", json!({ "clean": true, "exit_code": 0 })),
        Act::Nothing => story.say("stderr", "c0", json!({ "text": "x" })),
        Act::Fault(c, grave, x) => {
            story.fault(&place(c, x), id, "EK-0200", if grave { "error" } else { "notice" })
        }
        Act::ChildFailed(c, again) => {
            let after = again.then_some(100);
            story.say("child-failed", &channel(c), json!({ "fault": "x", "again_after_ms": after }))
        }
        Act::Child(c) => story.say("child", &channel(c), json!({ "pid": 1 })),
        Act::Runs(c, x) => story.state(&place(c, x), "Initialising", "Running"),
        Act::Breaks(c, x) => story.state(&place(c, x), "Running", "Failed"),
        Act::Isolate(c) => story.measure(&channel(c), u64::MAX, "isolate"),
        Act::Release(c) => story.measure(&channel(c), u64::MAX, "release"),
    };
}

// REQ M4
#[test]
fn incidents_are_what_the_naive_model_says() {
    let mut met = BTreeMap::<Ended, u64>::new();
    for seed in 0..3000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut story, mut acts, mut now_ns) = (Story::default(), Vec::new(), 0u64);
        for n in 0..rng.u64(1..60) {
            // Mostly soon, sometimes just at the settle time, sometimes back.
            now_ns = match rng.u32(0..20) {
                0 => now_ns + SETTLE,
                1 => now_ns + SETTLE - 1,
                2 => now_ns.saturating_sub(rng.u64(0..100) * SECOND),
                _ => now_ns + rng.u64(0..30) * SECOND,
            };
            let act = act(&mut rng);
            story.now_ns = now_ns;
            tell(&mut story, &act, n);
            acts.push((DAWN + now_ns, act));
        }
        let (incidents, statistics) = story.told();
        let told: BTreeSet<Told> =
            incidents.iter().map(|i| (i.first_entry, i.last_entry, i.ended, i.faults)).collect();
        assert_eq!(told, naive(&acts), "seed {seed}: {acts:?}");
        assert_eq!(told.len(), incidents.len(), "seed {seed}");
        for incident in &incidents {
            let entries: Vec<u64> = incident.moments.iter().map(|moment| moment.entry).collect();
            assert!(entries.is_sorted() && entries.first() == Some(&incident.first_entry), "seed {seed}");
            *met.entry(incident.ended).or_default() += 1;
        }
        assert_eq!(statistics.incidents.iter().map(|count| count.count).sum::<u64>(), told.len() as u64);
    }
    assert_eq!(met.len(), 7, "every end was met: {met:?}");
    assert!(met.values().all(|times| *times > 50), "{met:?}");
}
