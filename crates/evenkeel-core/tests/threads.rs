//! 100 000 jobs of three classes on eight workers and 200 channels, in virtual time.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_core::Mono;
use evenkeel_core::threads::{ChannelId, Class, Limits, Loss, Next, Schedule, WorkerId};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

const JOBS: usize = 100_000;
const WORKERS: usize = 8;
const CHANNELS: usize = 200;
/// Between submissions, in nanoseconds: a quarter more than eight workers can do.
const BETWEEN: u64 = 10_000;
/// From being woken to asking.
const WAKE: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(usize),
    /// A worker asks, unless it did so since.
    Ask {
        worker: usize,
        turn: u64,
    },
    /// A thread ends in the middle of a job.
    Dies(usize),
    /// A thread does not go on; and does again.
    IsStuck(usize),
    Returns(usize),
}

struct Pool {
    random: fastrand::Rng,
    schedule: Schedule<usize>,
    channels: Vec<ChannelId>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    now: u64,
    /// By worker: which of its events counts, and what it runs.
    turn: Vec<u64>,
    runs: Vec<Option<usize>>,
    stuck: BTreeSet<usize>,
    jobs: Vec<(Class, Option<usize>)>,
    /// Jobs by class, for each channel and for none.
    queued: Vec<[u32; 3]>,
    passed: Vec<[u32; 3]>,
    worst: [u32; 3],
    /// By channel: its home, and by class how many turns of it others had there since it had one.
    turns: Vec<(Option<WorkerId>, [u32; 3])>,
    homes_max: u32,
    longest_round: u32,
    begun: Vec<bool>,
    ended: usize,
    died_with: Vec<usize>,
    next_in_order: Vec<[usize; 3]>,
    waits: [Vec<u64>; 3],
}

impl Pool {
    fn new(seed: u64) -> Self {
        let mut schedule = Schedule::new(Limits { queued_max: JOBS + 1_024, ..Limits::default() });
        let now = Mono::from_nanos(0);
        let channels = (0..CHANNELS).map(|_| schedule.channel(now).unwrap()).collect();
        let mut pool = Self {
            random: fastrand::Rng::with_seed(seed),
            schedule,
            channels,
            events: BinaryHeap::new(),
            now: 0,
            turn: vec![0; WORKERS + 1],
            runs: vec![None; WORKERS + 1],
            stuck: BTreeSet::new(),
            jobs: Vec::new(),
            queued: vec![[0; 3]; CHANNELS + 1],
            passed: vec![[0; 3]; WORKERS + 1],
            worst: [0; 3],
            turns: vec![(None, [0; 3]); CHANNELS],
            homes_max: 0,
            longest_round: 0,
            begun: vec![false; JOBS],
            ended: 0,
            died_with: Vec::new(),
            next_in_order: vec![[0; 3]; CHANNELS + 1],
            waits: [const { Vec::new() }; 3],
        };
        for index in 0..WORKERS {
            pool.start(index);
        }
        pool.events.push(Reverse((0, Event::Submit(0))));
        pool
    }

    fn start(&mut self, index: usize) {
        assert!(self.schedule.worker_started(Mono::from_nanos(self.now), worker(index)));
        self.ask(index, WAKE);
    }

    fn ask(&mut self, index: usize, after: u64) {
        self.turn[index] += 1;
        let event = Event::Ask { worker: index, turn: self.turn[index] };
        self.events.push(Reverse((self.now + after, event)));
    }

    fn wake(&mut self, wake: impl IntoIterator<Item = WorkerId>) {
        for id in wake {
            self.ask(id.index(), WAKE);
        }
    }

    /// Until nothing happens any more.
    fn run(&mut self) {
        while let Some(Reverse((now, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Submit(n) => self.submit(n),
                Event::Ask { worker, turn } if self.turn[worker] == turn => self.take(worker),
                Event::Ask { .. } => {}
                Event::Dies(index) => self.lose(index, Loss::Dead),
                Event::IsStuck(index) => self.lose(index, Loss::Stuck),
                Event::Returns(index) => self.returns(index),
            }
        }
    }

    fn submit(&mut self, n: usize) {
        let class = match self.random.u8(0..100) {
            0..15 => Class::System,
            15..75 => Class::Processing,
            _ => Class::Monitoring,
        };
        let channel = (self.random.u8(0..10) > 0).then(|| self.random.usize(0..CHANNELS));
        self.jobs.push((class, channel));
        let id = channel.map(|at| self.channels[at]);
        let submitted = self.schedule.submit(Mono::from_nanos(self.now), class, id, n).unwrap();
        self.queued[channel.unwrap_or(CHANNELS)][class.index()] += 1;
        self.wake(submitted.wake);
        if n + 1 < JOBS {
            self.events.push(Reverse((self.now + BETWEEN, Event::Submit(n + 1))));
        }
    }

    fn take(&mut self, index: usize) {
        if let Some(job) = self.runs[index].take() {
            self.ended += 1;
            assert!(self.begun[job]);
        }
        let ready = self.ready(index);
        match self.schedule.take(Mono::from_nanos(self.now), worker(index)) {
            Next::Run { payload, class, waited, wake, .. } => {
                assert!(!std::mem::replace(&mut self.begun[payload], true), "job {payload} runs twice");
                let (_, channel) = self.jobs[payload];
                let order = &mut self.next_in_order[channel.unwrap_or(CHANNELS)][class.index()];
                assert!(*order <= payload, "in order of submission");
                *order = payload + 1;
                self.queued[channel.unwrap_or(CHANNELS)][class.index()] -= 1;
                self.waits[class.index()].push(waited.as_nanos() as u64);
                self.count_turn(index, class, ready);
                self.count_round(index, class, channel);
                let others = |at: &usize| *at != index && !self.stuck.contains(at);
                let mut running = (0..=WORKERS).filter(others).filter_map(|at| self.runs[at]);
                assert!(channel.is_none() || running.all(|job| self.jobs[job].1 != channel), "one at a time");
                self.runs[index] = Some(payload);
                let service = self.random.u64(50_000..150_000);
                self.ask(index, service);
                self.wake(wake);
            }
            Next::Idle { look_again } => {
                self.turn[index] += 1;
                if let Some(at) = look_again {
                    self.ask(index, at.as_nanos() - self.now);
                }
            }
            Next::Lost => assert!(self.stuck.contains(&index), "only who was given up gets nothing"),
            Next::Expired(_) => unreachable!("no job has a deadline"),
        }
    }

    /// Which classes have something for this worker.
    fn ready(&self, index: usize) -> [bool; 3] {
        let mut ready = self.queued[CHANNELS].map(|queued| queued > 0);
        for (at, queued) in
            self.queued[..CHANNELS].iter().enumerate().filter(|(_, queued)| **queued != [0; 3])
        {
            if self.schedule.home(self.channels[at]) == Some(worker(index)) {
                for class in 0..3 {
                    ready[class] |= queued[class] > 0;
                }
            }
        }
        ready
    }

    fn count_turn(&mut self, index: usize, class: Class, ready: [bool; 3]) {
        for (other, is_ready) in ready.into_iter().enumerate() {
            let passed = &mut self.passed[index][other];
            *passed = if is_ready && other != class.index() { *passed + 1 } else { 0 };
            self.worst[other] = self.worst[other].max(*passed);
        }
    }

    /// How many turns of its class each channel waits for.
    fn count_round(&mut self, index: usize, class: Class, served: Option<usize>) {
        let (mut homes, class) = (0, class.index());
        for (at, (last, turns)) in self.turns.iter_mut().enumerate() {
            let home = self.schedule.home(self.channels[at]);
            if std::mem::replace(last, home) != home {
                *turns = [0; 3];
            }
            if home == Some(worker(index)) {
                homes += 1;
                let waits = served != Some(at) && self.queued[at][class] > 0;
                turns[class] = if waits { turns[class] + 1 } else { 0 };
                self.longest_round = self.longest_round.max(turns[class]);
            }
        }
        self.homes_max = self.homes_max.max(homes);
    }

    fn lose(&mut self, index: usize, loss: Loss) {
        let lost = self.schedule.worker_lost(Mono::from_nanos(self.now), worker(index), loss);
        assert_eq!(lost.running.is_some(), self.runs[index].is_some());
        self.passed[index] = [0; 3];
        self.turn[index] += 1;
        match loss {
            Loss::Dead => self.died_with.extend(self.runs[index].take()),
            Loss::Stuck => _ = self.stuck.insert(index),
        }
        self.wake(lost.wake);
    }

    fn returns(&mut self, index: usize) {
        self.take(index);
        self.stuck.remove(&index);
        assert!(self.schedule.worker_returned(Mono::from_nanos(self.now), worker(index), true));
        self.ask(index, 0);
    }

    /// Median and 99th percentile of the waits of a class, in nanoseconds.
    fn waits(&mut self, class: Class) -> (u64, u64) {
        let waits = &mut self.waits[class.index()];
        waits.sort_unstable();
        (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
    }
}

fn worker(index: usize) -> WorkerId {
    WorkerId::new(index).unwrap()
}

// REQ T5
#[test]
fn under_saturation_system_waits_least_nobody_starves_and_channels_stay_at_home() {
    let mut pool = Pool::new(1);
    pool.run();
    assert_eq!(pool.ended, JOBS);
    let [system, processing, monitoring] = Class::ALL.map(|class| pool.waits(class));
    assert!(
        system.0 < processing.0 && processing.0 < monitoring.0,
        "{system:?} {processing:?} {monitoring:?}"
    );
    assert!(
        system.1 < processing.1 && processing.1 < monitoring.1,
        "{system:?} {processing:?} {monitoring:?}"
    );
    let [system, processing, monitoring] = pool.worst;
    assert!(system <= 2 && processing <= 8 && monitoring <= 33, "{:?} others went before a head", pool.worst);
    assert!(monitoring >= 32, "the simulation comes to the bound");
    assert!(pool.longest_round <= pool.homes_max, "{} turns for {}", pool.longest_round, pool.homes_max);
    let counts = pool.schedule.counts();
    assert!(counts.affinity() > 0.99, "{}", counts.affinity());
    assert_eq!((counts.total().done, counts.total().running), (JOBS as u64, 0));
}

// REQ T5
#[test]
fn with_a_dead_and_a_stuck_worker_no_job_is_lost_and_the_bounds_hold() {
    let mut pool = Pool::new(2);
    for (at, event) in [(400, Event::Dies(3)), (500, Event::IsStuck(5)), (900, Event::Returns(5))] {
        pool.events.push(Reverse((at * 1_000_000, event)));
    }
    pool.run();
    assert_eq!(pool.died_with.len(), 1, "it was busy");
    assert_eq!(pool.ended + pool.died_with.len(), JOBS);
    assert!(pool.begun.iter().all(|begun| *begun));
    let [system, processing, monitoring] = pool.worst;
    assert!(system <= 2 && processing <= 8 && monitoring <= 33, "{:?} others went before a head", pool.worst);
    let total = pool.schedule.counts().total();
    assert_eq!((total.done, total.lost), (JOBS as u64 - 1, 1));
    assert!(pool.schedule.counts().affinity() > 0.99, "each channel moves at most a few times");
    assert!(pool.schedule.is_quiet());
}
