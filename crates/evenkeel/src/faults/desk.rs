//! `ek-faults`: what is reported goes to the supervisor, and what that decides is done.
//!
//! Invariants:
//! 1. Everybody's faults are looked at in turns, so many of a channel at once: one that floods delays the others by
//!    its turn, whatever it has.
//! 2. Nothing of a user's runs here; procedures, observers and dependents have jobs.
//! 3. What is decided is in the journal's queue before it is done, and how it ended after.
//! 4. Once the stop has begun, faults are still told; nothing is done about them.

use super::act::Begun;
use super::inbox::News;
use super::lane::{Lane, Overflow};
use super::procedure::Task;
use super::written::At;
use super::{Inner, written};
use crate::threads::Pulse;
use evenkeel_core::Mono;
use evenkeel_core::fault::{Code, Fault, Measure, Name, Severity};
use evenkeel_core::supervision::{Action, ComponentId, Event, FaultId, Summary, Trouble, Who};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Faults of a channel that are looked at before it is another's turn.
const TURN_MAX: usize = 4;
/// How often it is asked whether the journal can be written.
const JOURNAL_LOOK: Duration = Duration::from_secs(1);

/// Whose faults they are: 0 the system's, else one more than the place of the channel.
type Place = usize;

pub(super) struct Desk {
    pub(super) inner: Arc<Inner>,
    lanes: Vec<Arc<Lane>>,
    pub(super) under_way: BTreeMap<Task, Begun>,
    /// Components whose successes count.
    pub(super) troubled: BTreeSet<ComponentId>,
    /// What was too much for the lanes, and since when that waits for the supervisor's own summary.
    left_out: BTreeMap<Place, (Mono, Overflow)>,
    /// The supervisor has stopped the system, and says no more: what was told one by one since, by period.
    after_stop: Option<BTreeMap<Place, (Mono, u32)>>,
    journal_trouble: Option<String>,
    journal_at: Mono,
    has_let_go: bool,
}

impl Desk {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let journal_at = inner.now();
        Self {
            lanes: vec![inner.system.clone()],
            inner,
            under_way: BTreeMap::new(),
            troubled: BTreeSet::new(),
            left_out: BTreeMap::new(),
            after_stop: None,
            journal_trouble: None,
            journal_at,
            has_let_go: false,
        }
    }

    /// The life of `ek-faults`.
    pub(super) fn live(mut self, pulse: &Pulse<'_>) {
        loop {
            let is_ending = self.inner.is_ending.load(Relaxed);
            while self.round() {
                pulse.beat();
            }
            if is_ending {
                break;
            }
            let until = self.next_deadline().map(|at| {
                let left = at.since(self.inner.now());
                Instant::now().checked_add(left).unwrap_or_else(Instant::now)
            });
            let inner = &self.inner;
            pulse.waiting(|| inner.inbox.wait(until));
        }
        self.sum_up();
        self.inner.let_go(true);
    }

    /// Looks at everything once. Whether more waits.
    pub(super) fn round(&mut self) -> bool {
        if self.inner.is_over() && !std::mem::replace(&mut self.has_let_go, true) {
            self.inner.let_go(false);
        }
        for news in self.inner.inbox.take() {
            self.hear(news);
        }
        let is_more = self.turn(TURN_MAX);
        self.tick();
        is_more
    }

    /// Looks at so many faults of everybody. Whether more waits.
    fn turn(&mut self, most: usize) -> bool {
        let inner = self.inner.clone();
        if self.lanes.len() <= inner.lanes.load(Relaxed) {
            let known = self.lanes.len() - 1;
            inner.with(|book| self.lanes.extend(book.lanes().skip(known).cloned()));
        }
        let mut is_more = false;
        for place in 0..self.lanes.len() {
            let (faults, overflow) = self.lanes[place].take(most);
            faults.into_iter().for_each(|(id, fault)| self.take_in(place, id, fault));
            if let Some(overflow) = overflow {
                self.leave_out(place, self.inner.now(), overflow);
            }
            is_more |= self.lanes[place].has_any();
        }
        is_more
    }

    /// All that was reported is told or summed now.
    fn sum_up(&mut self) {
        self.turn(usize::MAX);
        self.sum_up_told();
        self.tell_left_out(Mono::from_nanos(u64::MAX));
    }

    /// Sums of what the supervisor did not have told one by one.
    fn sum_up_told(&mut self) {
        let mut actions = Vec::new();
        self.inner.with(|book| book.supervisor.sum_up(&mut actions));
        let now = self.inner.now();
        actions.into_iter().for_each(|action| self.perform(now, action));
    }

    fn leave_out(&mut self, place: Place, now: Mono, overflow: Overflow) {
        let left_out = self.left_out.entry(place).and_modify(|(_, sum)| sum.add(&overflow));
        left_out.or_insert((now, overflow));
    }

    /// When to look again at the latest.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let period = self.inner.tell_period;
        let supervisor = self.inner.with(|book| book.supervisor.next_deadline());
        let lapses = self.under_way.values().filter(|begun| !begun.is_lapsed).map(|begun| begun.until);
        let sums = self.left_out.values().map(|(since, _)| since.plus(period));
        let journal = self.inner.has_journal().then(|| self.journal_at.plus(JOURNAL_LOOK));
        supervisor.into_iter().chain(lapses).chain(sums).chain(journal).min()
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Answer(task, outcome) => self.answered(task, outcome),
            News::Succeeded(component) => {
                self.inner
                    .with(|book| book.components[component.index()].seen.has_succeeded.store(false, Relaxed));
                self.troubled.insert(component);
                self.handle(Event::Succeeded { component });
            }
            News::Release(channel) => {
                self.inner.with(|book| book.channels[channel.index()].lane.release_is_looked_at());
                self.handle(Event::Release { channel });
            }
            News::SumUp(waits) => {
                self.sum_up();
                // Who does not wait any more needs no answer.
                let _ = waits.try_send(());
            }
        }
    }

    /// Time has gone by.
    fn tick(&mut self) {
        let now = self.inner.now();
        if self.inner.with(|book| book.supervisor.next_deadline()).is_some_and(|at| at <= now) {
            self.handle(Event::Tick);
        }
        self.lapse(now);
        self.tell_left_out(now.minus(self.inner.tell_period));
        if self.inner.has_journal() && now.since(self.journal_at) >= JOURNAL_LOOK {
            self.journal_at = now;
            self.look_at_journal();
        }
        self.look_at_troubled();
    }

    /// A fault: the supervisor says what is done about it and whether it is told by itself.
    fn take_in(&mut self, place: Place, id: FaultId, mut fault: Fault) {
        let now = self.inner.now();
        if self.after_stop.is_some() {
            return self.note(place, id, fault, now);
        }
        let is_over = self.inner.is_over();
        let mut actions = Vec::new();
        let inner = self.inner.clone();
        inner.with(|book| {
            let trouble = book.supervisor.tree().trouble(id, &fault);
            self.expect_trouble(book, &trouble);
            let is_supervised = book.is_supervised(&trouble) && !is_over;
            let event = if is_supervised { Event::Fault(trouble) } else { Event::Noted(trouble) };
            book.supervisor.handle(now, event, &mut actions);
        });
        // What is decided is written down first; then it is done.
        let told = actions.iter().find_map(|action| match *action {
            Action::Tell { fault, measure, .. } if fault == id => Some(measure),
            _ => None,
        });
        if let Some(measure) = told {
            fault.done.push(now, measure);
            self.tell(id, &fault);
        } else if actions.iter().any(|action| matches!(action, Action::StopSystem { .. })) {
            // Nothing is answered after it.
            fault.done.push(now, Measure::StopSystem);
            self.tell(id, &fault);
        }
        actions.into_iter().for_each(|action| self.perform(now, action));
    }

    /// A fault after the supervisor's last word: told in the same measure, and nothing is done about it.
    fn note(&mut self, place: Place, id: FaultId, mut fault: Fault, now: Mono) {
        let most = self.inner.with(|book| book.supervisor.limits().tells_max);
        let periods = self.after_stop.get_or_insert_default();
        let (since, told) = periods.entry(place).or_insert((now, 0));
        if now.since(*since) >= self.inner.tell_period {
            (*since, *told) = (now, 0);
        }
        if *told < most {
            *told += 1;
            fault.done.push(now, Measure::Noted);
            self.tell(id, &fault);
        } else {
            self.leave_out(place, now, Overflow::of(id, &fault));
        }
    }

    /// The supervisor has said its last word: what it had not told yet is told.
    pub(super) fn supervision_is_over(&mut self) {
        self.after_stop.get_or_insert_default();
        self.sum_up_told();
    }

    /// Those that a fault may trouble: their successes count from before it is looked at.
    fn expect_trouble(&mut self, book: &super::book::Book, trouble: &Trouble) {
        let owned = trouble.channel.filter(|_| trouble.component.is_none());
        let owned = owned.map_or(&[][..], |channel| book.supervisor.tree().owned(channel));
        for id in trouble.component.iter().chain(owned) {
            book.components[id.index()].seen.is_troubled.store(true, Relaxed);
            self.troubled.insert(*id);
        }
    }

    fn look_at_troubled(&mut self) {
        if self.troubled.is_empty() {
            return;
        }
        let inner = self.inner.clone();
        inner.with(|book| {
            self.troubled.retain(|id| {
                let is_up = book.supervisor.is_up(*id);
                book.components[id.index()].seen.is_troubled.store(!is_up, Relaxed);
                !is_up
            });
        });
    }

    pub(super) fn handle(&mut self, event: Event) {
        let now = self.inner.now();
        let mut actions = Vec::new();
        self.inner.with(|book| book.supervisor.handle(now, event, &mut actions));
        actions.into_iter().for_each(|action| self.perform(now, action));
    }

    /// Into the journal, among the latest, and to who wants to know.
    fn tell(&self, id: FaultId, fault: &Fault) {
        self.inner.write_fault(id, fault);
        let face = fault.public_face();
        let observers = self.inner.with(|book| {
            book.remember(face.clone());
            book.observers.clone()
        });
        self.inner.told.fetch_add(1, Relaxed);
        for observer in observers {
            observer.push(&self.inner.run, face.clone(), |_| false);
        }
    }

    /// What was not told one by one.
    pub(super) fn summarise(&mut self, now: Mono, who: Who, summary: &Summary) {
        let place = match who {
            Who::Channel(channel) => channel.index() + 1,
            Who::Component(_) | Who::System => 0,
        };
        let mut sum = written::sum(summary, now);
        if let Some((_, left_out)) = self.left_out.remove(&place) {
            sum.add(&left_out);
        }
        self.tell_sum(place, &sum);
    }

    fn tell_sum(&self, place: Place, sum: &Overflow) {
        let lane = &self.lanes[place];
        let channel = lane.name.as_ref().map(Name::as_str);
        let at = At { channel, component: None };
        self.inner.write_summary(at, channel.unwrap_or("the system"), sum);
        self.inner.summed.fetch_add(sum.count, Relaxed);
    }

    /// Sums that waited since then for the supervisor's, which had nothing to add.
    fn tell_left_out(&mut self, since: Mono) {
        let due: Vec<Place> =
            self.left_out.iter().filter(|(_, (at, _))| *at <= since).map(|(place, _)| *place).collect();
        for place in due {
            if let Some((_, sum)) = self.left_out.remove(&place) {
                self.tell_sum(place, &sum);
            }
        }
    }

    fn look_at_journal(&mut self) {
        let trouble = self.inner.journal().and_then(|journal| journal.trouble());
        if let (Some(trouble), None) = (&trouble, &self.journal_trouble) {
            let whose = self.inner.of_system("journal");
            self.inner.fault(&whose, Code::JOURNAL, Severity::Warning).text(trouble.as_str()).report();
        }
        self.journal_trouble = trouble;
    }
}
