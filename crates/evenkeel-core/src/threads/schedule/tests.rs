//! The schedule against a naive model: one `Vec` of jobs, and workers that sleep
//! until they are woken or their timer comes.

use super::super::ids::{Class, JobId};
use super::super::outcome::{Loss, Next, Reason};
use super::*;
use std::collections::HashMap;
use std::time::Duration;

fn worker(index: usize) -> WorkerId {
    WorkerId::new(index).unwrap()
}

fn at(micros: u64) -> Mono {
    Mono::from_nanos(micros * 1_000)
}

/// Everything that the lists and sets say of each other.
fn audit<J>(s: &Schedule<J>) {
    let sets = [s.idle, s.waking, s.busy, s.stuck];
    for (i, a) in sets.iter().enumerate() {
        assert!(sets[i + 1..].iter().all(|b| a & b == 0), "a worker is in one set");
    }
    assert!(s.standby & !s.idle == 0 && s.standby.count_ones() <= 1, "one idle worker is the standby");
    assert_eq!(s.behind & s.idle, 0, "an idle worker has nothing of its own");
    let loose: u32 = s.loose.iter().map(List::len).sum();
    if s.idle != 0 {
        assert!(loose <= (s.waking & !s.behind).count_ones(), "somebody comes for each job without channel");
        assert!(s.behind == 0 || s.waking | s.standby != 0, "somebody looks after channels that wait");
    }
    let mut expected: Vec<([u32; 4], u32)> = vec![([0; 4], 0); WORKERS_MAX + 1];
    for place in 0..s.channels.places() {
        let channel = s.channels.get(place);
        let (lists, queued) = &mut expected[channel.home];
        *queued += channel.queued();
        for class in Class::ALL {
            lists[class.index()] += u32::from(channel.has(class));
        }
        assert_eq!(channel.is_waiting, channel.queued() > 0 && !channel.is_running);
        lists[WAITING] += u32::from(channel.is_waiting);
        if channel.is_running {
            let running = s.workers[channel.home].running.expect("its home runs it");
            assert_eq!(running.channel, Some(s.channels.id(place)));
        }
    }
    for (index, (lists, queued)) in expected.into_iter().enumerate() {
        let own = &s.workers[index];
        assert_eq!((own.lists.each_ref().map(List::len), own.queued), (lists, queued), "worker {index}");
        assert!(
            (0..3).all(|class| own.until_loose[class] <= lists[class]),
            "the round is no longer than its list"
        );
        assert!(index == NOBODY || (s.behind >> index & 1 == 1) == (lists[WAITING] > 0));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sleep {
    Absent,
    /// Will ask.
    Awake,
    Asleep(Option<Mono>),
    /// Runs a job of this channel.
    Busy(Option<ChannelId>),
    Stuck,
}

#[derive(Debug)]
struct Queued {
    id: JobId,
    class: Class,
    channel: Option<ChannelId>,
    deadline: Option<Mono>,
    payload: u64,
}

struct Model {
    random: fastrand::Rng,
    schedule: Schedule<u64>,
    now: Mono,
    sleep: Vec<Sleep>,
    passed: Vec<[u32; 3]>,
    channels: Vec<(ChannelId, bool)>,
    queued: Vec<Queued>,
    /// How each payload left; every one leaves once.
    gone: HashMap<u64, &'static str>,
    submitted: u64,
    lost_running: u64,
    limits: Limits,
}

const WORKERS: usize = 5;

impl Model {
    fn new(seed: u64) -> Self {
        let limits = Limits {
            system_turns: 3,
            processing_turns: 5,
            queued_max: 60,
            reserved_for_system: 4,
            channels_max: 8,
            ..Limits::default()
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            schedule: Schedule::new(limits),
            now: Mono::from_nanos(1),
            sleep: vec![Sleep::Absent; WORKERS],
            passed: vec![[0; 3]; WORKERS],
            channels: Vec::new(),
            queued: Vec::new(),
            gone: HashMap::new(),
            submitted: 0,
            lost_running: 0,
            limits,
        }
    }

    fn wake(&mut self, wake: impl IntoIterator<Item = WorkerId>) {
        for id in wake {
            assert!(matches!(self.sleep[id.index()], Sleep::Asleep(_)), "only who sleeps is woken");
            self.sleep[id.index()] = Sleep::Awake;
        }
    }

    fn leaves(&mut self, payload: u64, how: &'static str) {
        assert_eq!(self.gone.insert(payload, how), None, "payload {payload} left before");
    }

    fn submit(&mut self) {
        let class = Class::ALL[self.random.usize(0..3)];
        let channel = match self.random.usize(0..4) {
            0 => None,
            _ if self.channels.is_empty() => None,
            _ => Some(self.channels[self.random.usize(0..self.channels.len())]),
        };
        let deadline = (self.random.u8(0..5) == 0)
            .then(|| self.now.plus(Duration::from_micros(self.random.u64(0..20_000))));
        let payload = self.submitted;
        let id = channel.map(|(id, _)| id);
        let result = match deadline {
            Some(by) => self.schedule.submit_before(self.now, class, id, by, payload),
            None => self.schedule.submit(self.now, class, id, payload),
        };
        let queued_max = if class == Class::System { 60 } else { 56 };
        match result {
            Ok(submitted) => {
                assert!(channel.is_none_or(|(_, is_open)| is_open) && self.queued.len() < queued_max);
                let earliest = self.queued.iter().filter_map(|job| job.deadline).min();
                let is_next = deadline.is_some_and(|by| earliest.is_none_or(|earliest| by < earliest));
                assert_eq!(submitted.is_next_deadline, is_next);
                self.submitted += 1;
                self.queued.push(Queued { id: submitted.id, class, channel: id, deadline, payload });
                self.wake(submitted.wake);
            }
            Err(refused) => {
                assert_eq!(refused.payload, payload, "what is refused comes back");
                match refused.reason {
                    Reason::Full { .. } => assert!(self.queued.len() >= queued_max),
                    _ => assert!(channel.is_some_and(|(_, is_open)| !is_open)),
                }
            }
        }
    }

    /// Whether the worker could run a job of this class now.
    fn is_ready(&self, who: WorkerId, class: Class) -> bool {
        self.queued.iter().any(|job| {
            job.class == class && job.channel.is_none_or(|channel| self.schedule.home(channel) == Some(who))
        })
    }

    fn is_held(&self, channel: Option<ChannelId>) -> bool {
        channel.is_some() && self.sleep.contains(&Sleep::Busy(channel))
    }

    fn take(&mut self, index: usize) {
        let who = worker(index);
        self.sleep[index] = Sleep::Awake;
        let ready = Class::ALL.map(|class| self.is_ready(who, class));
        match self.schedule.take(self.now, who) {
            Next::Run { id, channel, class, payload, wake, .. } => {
                let first =
                    self.queued.iter().position(|job| (job.channel, job.class) == (channel, class)).unwrap();
                let job = self.queued.remove(first);
                assert_eq!((job.id, job.payload), (id, payload), "in order of submission");
                assert!(job.deadline.is_none_or(|deadline| deadline > self.now), "not after its deadline");
                assert!(!self.is_held(channel), "a channel's jobs run one at a time");
                if ready == [false; 3] {
                    // It had nothing of its own: it took the channel over.
                    self.passed[index] = [0; 3];
                    let ready = Class::ALL.map(|other| other == class || self.is_ready(who, other));
                    self.count_turn(index, class, ready);
                } else {
                    self.count_turn(index, class, ready);
                }
                self.leaves(payload, "run");
                self.sleep[index] = Sleep::Busy(channel);
                self.wake(wake);
            }
            Next::Expired(removed) => self.expired(removed.id, removed.payload),
            Next::Idle { look_again } => {
                assert_eq!(ready, [false; 3], "nobody sleeps beside own work");
                self.sleep[index] = Sleep::Asleep(look_again);
            }
            Next::Lost => panic!("only who is not lost asks"),
        }
    }

    fn count_turn(&mut self, index: usize, class: Class, ready: [bool; 3]) {
        let passed = &mut self.passed[index];
        let bounds = [2, self.limits.system_turns, self.limits.processing_turns + 1];
        let higher = ready[..class.index()].contains(&true);
        let owed = [u32::MAX, self.limits.system_turns, self.limits.processing_turns][class.index()];
        assert!(!higher || passed[class.index()] >= owed, "{class} went first without being owed a turn");
        for other in 0..3 {
            passed[other] = if other != class.index() && ready[other] { passed[other] + 1 } else { 0 };
            assert!(passed[other] <= bounds[other], "{} was passed over {passed:?}", Class::ALL[other]);
        }
    }

    fn expired(&mut self, id: JobId, payload: u64) {
        let at = self.queued.iter().position(|job| job.id == id).unwrap();
        let job = self.queued.remove(at);
        assert!(job.payload == payload && job.deadline.is_some_and(|deadline| deadline <= self.now));
        self.leaves(payload, "expired");
    }

    fn expire(&mut self) {
        let earliest = self.queued.iter().filter_map(|job| job.deadline).min();
        assert_eq!(self.schedule.next_deadline(), earliest);
        let mut out = Vec::new();
        self.schedule.expired(self.now, &mut out);
        for removed in out {
            self.expired(removed.id, removed.payload);
        }
        assert!(self.schedule.next_deadline().is_none_or(|deadline| deadline > self.now));
    }

    fn cancel(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        let job = self.queued.remove(self.random.usize(0..self.queued.len()));
        assert_eq!(self.schedule.cancel(job.id), Some(job.payload));
        assert_eq!(self.schedule.cancel(job.id), None, "once");
        self.leaves(job.payload, "cancelled");
    }

    fn lose(&mut self, index: usize) {
        let who = worker(index);
        match self.sleep[index] {
            Sleep::Absent => {
                assert!(self.schedule.worker_started(self.now, who));
                (self.sleep[index], self.passed[index]) = (Sleep::Awake, [0; 3]);
            }
            Sleep::Stuck => {
                let again = self.random.bool();
                assert!(self.schedule.worker_returned(self.now, who, again));
                self.passed[index] = [0; 3];
                self.sleep[index] = if again { Sleep::Awake } else { Sleep::Absent };
            }
            before => {
                let how = self.random.u8(0..3);
                self.sleep[index] = if how == 0 { Sleep::Stuck } else { Sleep::Absent };
                let lost = match how {
                    0 => self.schedule.worker_lost(self.now, who, Loss::Stuck),
                    1 => self.schedule.worker_lost(self.now, who, Loss::Dead),
                    _ => self.schedule.worker_retired(self.now, who),
                };
                let was_running = matches!(before, Sleep::Busy(_)) && how != 2;
                assert_eq!(lost.running.is_some(), was_running);
                self.lost_running += u64::from(was_running && how == 1);
                self.wake(lost.wake);
            }
        }
    }

    fn open_or_close(&mut self) {
        if self.random.bool() || self.channels.is_empty() {
            if let Ok(id) = self.schedule.channel(self.now) {
                assert!(self.channels.iter().all(|(other, _)| *other != id), "ids are not used again");
                self.channels.push((id, true));
            }
        } else {
            let at = self.random.usize(0..self.channels.len());
            let (id, is_open) = &mut self.channels[at];
            assert_eq!(self.schedule.close(*id), *is_open);
            *is_open = false;
        }
        // What is closed for long is not picked any more.
        if self.channels.len() > 12 {
            self.channels.retain(|(_, is_open)| *is_open);
        }
    }

    fn step(&mut self) {
        match self.random.u8(0..100) {
            0..45 => self.submit(),
            45..50 => self.cancel(),
            50..53 => self.expire(),
            53..55 => {
                let index = self.random.usize(0..WORKERS);
                self.lose(index);
            }
            55..60 => self.open_or_close(),
            60..70 => self.now = self.now.plus(Duration::from_micros(self.random.u64(0..6_000))),
            _ => {
                let index = self.random.usize(0..WORKERS);
                match self.sleep[index] {
                    Sleep::Awake | Sleep::Busy(_) => self.take(index),
                    Sleep::Asleep(Some(timer)) if timer <= self.now => self.take(index),
                    _ => {}
                }
            }
        }
        audit(&self.schedule);
    }

    /// Nothing more comes: all that is queued ends, by wake-ups and timers alone.
    fn finish(&mut self) {
        if self.schedule.workers().is_empty() {
            let index = self.sleep.iter().position(|sleep| *sleep != Sleep::Asleep(None)).unwrap();
            self.sleep[index] = match self.sleep[index] {
                Sleep::Stuck => {
                    assert!(self.schedule.worker_returned(self.now, worker(index), true));
                    Sleep::Awake
                }
                _ => {
                    assert!(self.schedule.worker_started(self.now, worker(index)));
                    Sleep::Awake
                }
            };
            self.passed[index] = [0; 3];
        }
        loop {
            let active = |sleep: &Sleep| matches!(sleep, Sleep::Awake | Sleep::Busy(_));
            if let Some(index) = self.sleep.iter().position(active) {
                self.take(index);
            } else if let Some(timer) = self.sleep.iter().filter_map(Sleep::timer).min() {
                self.now = self.now.max(timer);
                let index = self.sleep.iter().position(|sleep| sleep.timer() == Some(timer)).unwrap();
                self.take(index);
            } else {
                break;
            }
            audit(&self.schedule);
        }
        assert!(self.queued.is_empty(), "all sleep beside {:?}", self.queued);
        assert!(self.schedule.is_empty() && self.schedule.is_quiet());
        assert_eq!(self.gone.len() as u64, self.submitted, "every payload left");
        let total = self.schedule.counts().total();
        let how = |how: &str| self.gone.values().filter(|gone| **gone == how).count() as u64;
        assert_eq!(total.done + total.lost, how("run"));
        assert!(total.lost >= self.lost_running);
        assert_eq!((total.cancelled, total.expired), (how("cancelled"), how("expired")));
    }
}

impl Sleep {
    fn timer(&self) -> Option<Mono> {
        match self {
            Self::Asleep(timer) => *timer,
            _ => None,
        }
    }
}

// REQ T5
#[test]
fn whatever_happens_jobs_run_once_in_order_and_no_wake_up_is_lost() {
    for seed in 0..1_500 {
        let mut model = Model::new(seed);
        for index in 0..2 {
            model.lose(index);
        }
        for _ in 0..500 {
            model.step();
        }
        model.finish();
    }
}

fn started(workers: usize) -> Schedule<u32> {
    let mut schedule = Schedule::new(Limits::default());
    for index in 0..workers {
        assert!(schedule.worker_started(at(0), worker(index)));
        assert!(matches!(schedule.take(at(0), worker(index)), Next::Idle { look_again: None }));
    }
    schedule
}

fn payload<J>(next: Next<J>) -> J {
    match next {
        Next::Run { payload, .. } => payload,
        _ => panic!("there is a job"),
    }
}

// REQ T5
#[test]
fn a_channel_stays_at_home_until_its_home_does_not_keep_up() {
    let mut schedule = started(2);
    let (one, two) = (schedule.channel(at(0)).unwrap(), schedule.channel(at(0)).unwrap());
    let home = schedule.submit(at(0), Class::Processing, Some(one), 1).unwrap().wake.unwrap();
    assert_eq!((home, payload(schedule.take(at(0), home))), (worker(0), 1));
    // Another channel of the same home.
    schedule.rehome(two.slot, home.index());
    let submitted = schedule.submit(at(1), Class::Processing, Some(two), 2).unwrap();
    assert_eq!(submitted.wake, Some(worker(1)), "a busy home: an idle worker is told to stand by");
    let Next::Idle { look_again } = schedule.take(at(2), worker(1)) else { panic!("it is not its own") };
    assert_eq!(look_again, Some(at(10_001)), "the patience of 10 ms, from when the channel was ready");
    let submitted = schedule.submit(at(3), Class::Monitoring, Some(two), 3).unwrap();
    assert_eq!(submitted.wake, None, "one stands by already");
    let Next::Run { payload, moved, .. } = schedule.take(at(10_001), worker(1)) else {
        panic!("its time came")
    };
    assert_eq!((payload, moved, schedule.home(two)), (2, false, Some(worker(1))));
    assert_eq!(schedule.home(one), Some(home));
}

// REQ T5
#[test]
fn jobs_without_a_channel_wake_an_idle_worker_each() {
    let mut schedule = started(3);
    let wakes: Vec<_> =
        (0..4).map(|n| schedule.submit(at(n), Class::Monitoring, None, 0).unwrap().wake).collect();
    assert_eq!(wakes, [Some(worker(0)), Some(worker(1)), Some(worker(2)), None]);
}

// REQ T5
#[test]
fn the_channels_of_a_class_and_the_jobs_without_one_take_turns() {
    let mut schedule = started(1);
    let channels = [schedule.channel(at(0)).unwrap(), schedule.channel(at(0)).unwrap()];
    for n in 0..4 {
        let _ = schedule.submit(at(0), Class::Processing, Some(channels[0]), 10 + n).unwrap();
        let _ = schedule.submit(at(0), Class::Processing, None, 30 + n).unwrap();
        let _ = schedule.submit(at(0), Class::Processing, Some(channels[1]), 20 + n).unwrap();
    }
    let order: Vec<_> = (0..12).map(|_| payload(schedule.take(at(1), worker(0)))).collect();
    for round in order.chunks(3) {
        let mut who: Vec<_> = round.iter().map(|payload| payload / 10).collect();
        who.sort_unstable();
        assert_eq!(who, [1, 2, 3], "one each in a round of {order:?}");
    }
}

// REQ T5
#[test]
fn a_stuck_worker_leaves_its_channel_and_comes_back() {
    let mut schedule = started(2);
    let channel = schedule.channel(at(0)).unwrap();
    let home = schedule.submit(at(0), Class::System, Some(channel), 1).unwrap().wake.unwrap();
    assert_eq!(payload(schedule.take(at(0), home)), 1);
    let _ = schedule.submit(at(0), Class::System, Some(channel), 2).unwrap();
    let lost = schedule.worker_lost(at(5), home, Loss::Stuck);
    let other = lost.wake.clone().next().unwrap();
    assert_eq!((lost.moved, lost.running.unwrap().channel), (1, Some(channel)));
    assert_eq!(payload(schedule.take(at(5), other)), 2, "its next job does not wait for the stuck one");
    assert!(matches!(schedule.take(at(6), home), Next::Lost), "who was given up takes nothing");
    assert!(!schedule.worker_started(at(6), home), "its number is taken until it is back");
    assert!(schedule.worker_returned(at(6), home, true));
    assert!(matches!(schedule.take(at(6), home), Next::Idle { .. }));
    assert!(matches!(schedule.take(at(7), other), Next::Idle { .. }));
    assert_eq!((schedule.counts().total().done, schedule.counts().total().lost), (2, 0));
    assert_eq!(schedule.counts().of(Class::System).moves, 1);
}

// REQ T8
#[test]
fn what_is_still_queued_at_termination_is_given_back() {
    let mut schedule = started(1);
    let channel = schedule.channel(at(0)).unwrap();
    for n in 0..5 {
        let _ = schedule.submit(at(0), Class::Monitoring, (n % 2 == 0).then_some(channel), n).unwrap();
    }
    schedule.close_intake();
    let refused = schedule.submit(at(0), Class::System, None, 9).unwrap_err();
    assert_eq!((refused.reason, refused.payload), (Reason::IntakeClosed, 9));
    let _ = payload(schedule.take(at(1), worker(0)));
    let mut out = Vec::new();
    schedule.drain_all(&mut out);
    assert_eq!(out.len(), 4);
    assert!(schedule.is_empty() && !schedule.is_quiet(), "one still runs");
    assert!(schedule.worker_retired(at(2), worker(0)).wake.is_empty());
    assert!(schedule.is_quiet());
    audit(&schedule);
}

// REQ T5
#[test]
fn a_stale_channel_is_recognised() {
    let mut schedule = started(1);
    let old = schedule.channel(at(0)).unwrap();
    assert!(schedule.close(old));
    let new = schedule.channel(at(0)).unwrap();
    assert_eq!(old.slot(), new.slot());
    let refused = schedule.submit(at(0), Class::System, Some(old), 1).unwrap_err();
    assert_eq!(refused.reason, Reason::UnknownChannel(old));
    assert!(!schedule.close(old), "closing the old one leaves the new one open");
    assert!(schedule.submit(at(0), Class::System, Some(new), 1).is_ok());
}

// REQ T5
#[test]
fn channels_are_spread_over_idle_workers_and_then_over_the_least_loaded() {
    let mut schedule = started(3);
    let mut homes = [0; 3];
    for n in 0..30 {
        let channel = schedule.channel(at(0)).unwrap();
        let _ = schedule.submit(at(n), Class::Processing, Some(channel), 0).unwrap();
        homes[schedule.home(channel).unwrap().index()] += 1;
    }
    assert_eq!(homes, [10; 3]);
}

// REQ T5
#[test]
fn expired_jobs_come_in_the_order_of_their_deadlines_and_few_at_once() {
    let mut schedule = started(1);
    for n in 0..100 {
        let deadline = at(1 + u64::from(n) * 37 % 100);
        let submitted = schedule.submit_before(at(0), Class::System, None, deadline, n).unwrap();
        assert_eq!(submitted.is_next_deadline, n == 0, "the first has the earliest deadline");
    }
    let mut out = Vec::new();
    schedule.expired(at(80), &mut out);
    assert_eq!((out.len(), schedule.next_deadline()), (64, Some(at(65))));
    schedule.expired(at(80), &mut out);
    let order: Vec<_> = out.iter().map(|removed| u64::from(removed.payload) * 37 % 100).collect();
    assert_eq!(order, (0..80).collect::<Vec<_>>());
    assert_eq!(schedule.next_deadline(), Some(at(81)), "the others still have time");
    let Next::Expired(removed) = schedule.take(at(86), worker(0)) else { panic!("its deadline has come") };
    assert_eq!(removed.payload, 5, "seen when it would be taken, too");
}

// REQ T5
#[test]
fn jobs_wait_for_the_first_worker_and_for_a_replacement() {
    let mut schedule = Schedule::new(Limits::default());
    let channel = schedule.channel(at(0)).unwrap();
    assert_eq!(schedule.submit(at(0), Class::System, Some(channel), 1).unwrap().wake, None);
    let _ = schedule.submit(at(0), Class::System, Some(channel), 2).unwrap();
    assert!(schedule.worker_started(at(1), worker(0)));
    assert_eq!(payload(schedule.take(at(1), worker(0))), 1);
    assert!(schedule.worker_lost(at(2), worker(0), Loss::Dead).wake.is_empty());
    assert!(schedule.worker_started(at(3), worker(0)), "the number of a dead one is free");
    assert_eq!(payload(schedule.take(at(3), worker(0))), 2);
    audit(&schedule);
}

// REQ T5
#[test]
fn a_full_queue_keeps_places_for_class_system_and_says_how_many_there_are() {
    let limits = Limits { queued_max: 10, reserved_for_system: 2, ..Limits::default() };
    let mut schedule = Schedule::new(limits);
    let mut submit =
        |class| schedule.submit(at(0), class, None, 0).map(|_| ()).map_err(|refused| refused.to_string());
    for _ in 0..8 {
        assert_eq!(submit(Class::Monitoring), Ok(()));
    }
    let message = "8 jobs wait, and class processing may use 8 places: submit less, or wait a little";
    assert_eq!(submit(Class::Processing), Err(message.to_owned()));
    assert_eq!((submit(Class::System), submit(Class::System)), (Ok(()), Ok(())));
    assert!(submit(Class::System).is_err());
}
