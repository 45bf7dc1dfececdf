//! Random storms: what is decided is done, in order, never too often, and every procedure is answered once.

use super::*;
use std::collections::BTreeMap;

const CODES: [Code; 6] =
    [Code::EXECUTION, Code::PANIC, Code::TIMEOUT, Code::STORAGE, Code::DEPENDENCY, Code::EXECUTION];

/// Works, fails or panics, as it comes.
fn random(rng: &Arc<Plain<fastrand::Rng>>) -> impl Fn(&Attempt<'_>) -> Result<(), String> + use<> {
    let rng = rng.clone();
    move |_| {
        let drawn = rng.lock().unwrap().u32(..10);
        match drawn {
            0 => panic!("as it comes"),
            1..=3 => Err("as it comes".to_owned()),
            _ => Ok(()),
        }
    }
}

struct Storm {
    rig: Rig,
    rng: fastrand::Rng,
    channels: Vec<Supervision>,
    components: Vec<Supervised>,
    /// Jobs that hang, and until when.
    hung: Vec<(Mono, Job)>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shared = Arc::new(Plain::new(fastrand::Rng::with_seed(seed + 1)));
        let rig = Rig::new(Policies::default(), Limits::default(), seed);
        let disk = rig.system().supervise("disk").restart(random(&shared)).register().unwrap();
        let (mut channels, mut components) = (Vec::new(), vec![disk.clone()]);
        for at in 0..3 {
            let channel = rig.channel(&format!("c{at}"));
            let recovery = channel.recovery().reinitialise(random(&shared)).stop_capture(random(&shared));
            let recovery = if rng.bool() { recovery.verify(random(&shared)) } else { recovery };
            recovery.register().unwrap();
            for part in 0..rng.usize(1..4) {
                let builder = channel.supervise(&format!("p{part}")).needs(&disk);
                let builder = if rng.bool() { builder.retry(random(&shared)) } else { builder };
                let builder = if rng.u32(..4) > 0 { builder.restart(random(&shared)) } else { builder };
                components.push(builder.register().unwrap());
            }
            channels.push(channel);
        }
        Self { rig, rng, channels, components, hung: Vec::new() }
    }

    /// Runs what was given, but for what hangs.
    fn settle(&mut self) {
        loop {
            let now = self.rig.now();
            let mut jobs: Vec<Job> =
                self.hung.extract_if(.., |(until, _)| *until <= now).map(|(_, job)| job).collect();
            for given in self.rig.look() {
                if self.rng.u32(..10) == 0 && !given.name.contains("retry") {
                    self.hung.push((now.plus(Duration::from_secs(self.rng.u64(..100))), given.job));
                } else {
                    jobs.push(given.job);
                }
            }
            if jobs.is_empty() {
                return;
            }
            jobs.into_iter().for_each(run);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.rig.now().plus(time);
        self.settle();
        loop {
            let hung = self.hung.iter().map(|(until, _)| *until).min();
            let due = self.rig.desk.next_deadline().into_iter().chain(hung).min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.rig.now.store(at.max(self.rig.now()).as_nanos(), Relaxed);
            self.settle();
        }
        self.rig.now.store(end.as_nanos(), Relaxed);
    }

    fn step(&mut self) {
        match self.rng.u32(..10) {
            0..=4 => {
                let (at, code) =
                    (self.rng.usize(..self.components.len()), CODES[self.rng.usize(..CODES.len())]);
                let severity = if self.rng.u32(..8) == 0 { Severity::Critical } else { Severity::Error };
                self.components[at].fault(code, severity).report();
            }
            5 => {
                let at = self.rng.usize(..self.channels.len());
                self.channels[at].fault(Code::STORAGE, Severity::Error).report();
            }
            6 => self.channels[self.rng.usize(..3)].release(),
            7 => self.components[self.rng.usize(..self.components.len())].succeeded(),
            _ => {}
        }
        let time = Duration::from_millis(self.rng.u64(..30_000));
        self.pass(time);
    }
}

/// Whatever was begun is answered once, and lapses once at most; a channel's parts come in their order.
fn check_recoveries(written: &[(String, Option<String>, Value)]) {
    let mut under_way: BTreeMap<(String, String), bool> = BTreeMap::new();
    let (mut before, mut cut): (BTreeMap<String, String>, BTreeMap<String, bool>) = Default::default();
    for (kind, channel, body) in written {
        let channel = channel.clone().unwrap_or_default();
        if kind == "measure" {
            let (what, who) = (body["measure"].as_str().unwrap(), body["who"].as_str().unwrap());
            let is_cut = cut.entry(channel.clone()).or_default();
            match what {
                "isolate" => *is_cut = true,
                "release" => *is_cut = false,
                _ => assert!(!*is_cut, "{what} of {who} while it is cut off"),
            }
        }
        if kind != "recovery" {
            continue;
        }
        let (step, state) = (body["step"].as_str().unwrap(), body["state"].as_str().unwrap());
        let component = body["component"].as_str().unwrap_or_default();
        let key = if step == "restart" { component } else { "" };
        let key = (channel.clone(), key.to_owned());
        match state {
            "begun" => {
                assert!(under_way.insert(key, false).is_none(), "{channel}: {step} beside another");
                let last = before.get(&channel).map(String::as_str);
                match step {
                    "flush" => assert_eq!(last, Some("stop-capture")),
                    "verify" => assert_eq!(last, Some("reinitialise")),
                    "reinitialise" => assert!(last == Some("flush") || cut[&channel], "after {last:?}"),
                    _ => {}
                }
                if step != "restart" {
                    before.insert(channel, step.to_owned());
                }
            }
            "lapsed" => assert!(!std::mem::replace(under_way.get_mut(&key).unwrap(), true), "lapsed twice"),
            _ => assert!(under_way.remove(&key).is_some(), "{step} is answered, and was not begun"),
        }
    }
    assert_eq!(under_way, BTreeMap::new(), "all that was begun is answered");
}

/// Jobs of one name within the intensity that there is for them.
fn check_intensity(log: &[(Mono, String)], prefix: &str, limit: &Intensity) {
    let mut by_name: BTreeMap<&str, Vec<Mono>> = BTreeMap::new();
    for (at, name) in log.iter().filter(|(_, name)| name.starts_with(prefix)) {
        by_name.entry(name).or_default().push(*at);
    }
    for (name, times) in by_name {
        for first in 0..times.len() {
            for last in first..times.len() {
                let most = limit.at_most_in(times[last].since(times[first]));
                assert!((last - first + 1) as u64 <= most, "{name}: too often");
            }
        }
    }
}

// REQ E3, REQ E4, REQ Q4
#[test]
fn what_is_decided_is_done_in_order_and_never_too_often() {
    let mut done = 0;
    for seed in 0..24 {
        let mut storm = Storm::new(seed);
        (0..150).for_each(|_| storm.step());
        // What hangs comes back, and all calms down.
        storm.pass(Duration::from_secs(200));
        let (rig, limits) = (&storm.rig, Limits::default());
        let written = rig.written();
        check_recoveries(&written);
        check_intensity(&rig.log, "faults: restart", &limits.restarts);
        check_intensity(&rig.log, "faults: retry", &limits.retries);
        check_intensity(&rig.log, "faults: stop-capture", &limits.recoveries);
        let decided = |what: &str| measures(&written).iter().filter(|(measure, ..)| measure == what).count();
        let jobs = |what: &str| rig.log.iter().filter(|(_, name)| name.starts_with(what)).count();
        let begun = |step: &str| states(&written, step).iter().filter(|state| *state == "begun").count();
        assert_eq!(begun("restart"), decided("restart"));
        assert_eq!(begun("stop-capture"), decided("recover"));
        for step in ["stop-capture", "reinitialise"] {
            assert_eq!(jobs(&format!("faults: {step}")), begun(step), "{step} of seed {seed}");
        }
        // Those without a procedure are decided, and done by nobody.
        assert!(jobs("faults: restart") <= decided("restart") && jobs("faults: retry") <= decided("retry"));
        done += jobs("faults: ");
        assert_eq!(rig.inner.unjournalled.load(Relaxed), 0);
    }
    assert!(done > 1_000, "only {done} jobs");
}
