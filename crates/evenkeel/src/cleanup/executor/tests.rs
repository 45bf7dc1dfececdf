//! What cannot be had from outside: a system without threads, an inbox that is watched.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use super::*;
use evenkeel_core::cleanup::{Backoff, Phase, Plan, PlanOptions, StepSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

struct Nobody;

impl Watch for Nobody {
    fn before(&mut self, _: &Run, _: &Action) {}
}

fn executor(works: Work, retries: u32) -> (Executor, Workers) {
    let mut spec = StepSpec::new("a", Phase::Initiating);
    spec.limits.retries = retries;
    spec.limits.backoff = Backoff { first: Duration::ZERO, max: Duration::ZERO };
    let plan = Plan::new(vec![spec], PlanOptions::default()).unwrap();
    let workers = Workers::new(crate::threads::ThreadCoordinator::default());
    let means = Means { workers: workers.clone(), runtime: None, journal: None };
    let works = vec![Works { run: works, verify: None, compensate: None }];
    (Executor::new(Run::new(plan), works, means, Arc::new(Inbox::new().unwrap())), workers)
}

fn drive_to_end(executor: &mut Executor) {
    while let Some(deadline) = executor.next_deadline() {
        let timeout = Timespec::try_from(deadline.since(mono())).unwrap();
        poll(&mut [PollFd::new(&executor.inbox.wake, PollFlags::IN)], Some(&timeout)).unwrap();
        executor.turn(Event::Tick, &mut Nobody);
    }
}

// REQ C5, REQ E5
#[test]
fn without_threads_every_attempt_fails_once_and_says_why() {
    let blocking = Work::Blocking(Arc::new(|_| Outcome::Done));
    let future = Work::Async(Arc::new(|_| Box::pin(async { Outcome::Done })));
    for work in [blocking, future] {
        let (mut executor, workers) = executor(work, 2);
        workers.exhaust();
        executor.turn(Event::Begin, &mut Nobody);
        assert_eq!(
            with_root(|house| executor.inbox.events.lock(house).len()),
            1,
            "an attempt is answered twice"
        );
        drive_to_end(&mut executor);
        let step = executor.run.plan().find("a").unwrap();
        assert_eq!(executor.run.verdict(step), Some(Verdict::Failed));
        assert_eq!(executor.run.attempts(step), 3);
        let detail = executor.run.detail(step).unwrap();
        assert!(detail.starts_with("no thread could be started"), "{detail}");
    }
}

// REQ C5
#[test]
fn a_step_that_asks_without_end_fills_no_inbox() {
    let inbox = Arc::new(Inbox::new().unwrap());
    let theirs = inbox.clone();
    let step = executor(Work::Blocking(Arc::new(|_| Outcome::Done)), 0).0.run.plan().find("a").unwrap();
    let extend =
        Box::new(move || with_root(|house| theirs.post(house, Event::Extend { step, by: Duration::ZERO })));
    let asks = Step::new("a".to_owned(), 1, mono(), extend);
    for seconds in [3, 9, 6] {
        asks.extend(Duration::from_secs(seconds));
    }
    assert_eq!(inbox.take().len(), 1);
    let lease = asks.take_lease().unwrap();
    assert!(
        lease > Duration::from_secs(6) && lease <= Duration::from_secs(9),
        "the longest counts: {lease:?}"
    );
    assert_eq!(asks.take_lease(), None);
    asks.extend(Duration::ZERO);
    assert_eq!(inbox.take().len(), 1, "it is heard again");
    asks.cancel();
    asks.take_lease();
    asks.extend(Duration::from_secs(1));
    assert!(inbox.take().is_empty() && !asks.begin(), "told to stop, it begins and gets nothing more");
}
