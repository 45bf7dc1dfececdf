//! What locks that are awaited count, and who holds them, in the same snapshot as those that block.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_locks::r#async::{Mutex, RwLock, with_task};
use evenkeel_locks::watch::{self, Access, LockStats};
use evenkeel_locks::{lock_order, unranked};
use std::future::pending;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

lock_order! { async Session < Routes; }
lock_order! { async Slow; }
lock_order! { async Read; }

/// Polls once, and says whether it is over.
fn poll(task: Pin<&mut dyn Future<Output = ()>>) -> bool {
    task.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn run(task: impl Future<Output = ()>) {
    assert!(poll(pin!(task)), "nobody is in its way");
}

fn in_snapshot(name: &str) -> LockStats {
    watch::snapshot().locks.into_iter().find(|lock| lock.name == name).unwrap()
}

fn lines(stats: &LockStats) -> Vec<u32> {
    assert!(stats.holders.iter().all(|holder| holder.site.file().ends_with("tests/awaited_stats.rs")));
    stats.holders.iter().map(|holder| holder.site.line()).collect()
}

// REQ T4
#[test]
fn what_is_awaited_is_counted_with_its_waits_and_its_holders() {
    let session = Mutex::<Session, _>::new(0);
    run(with_task(async |root| *session.lock(root).await += 1));
    run(with_task(async |root| *session.try_lock(root).unwrap() += 1));
    let held_at = line!() + 2;
    let mut holds = Box::pin(with_task(async |root| {
        let _session = session.lock(root).await;
        pending::<()>().await;
    }));
    assert!(!poll(holds.as_mut()));
    let seen = in_snapshot("Session");
    assert_eq!((seen.holders.len(), lines(&seen)), (1, vec![held_at]));
    assert!(seen.holders[0].is_task && seen.holders[0].access == Access::Exclusive);
    let text = seen.holders[0].to_string();
    assert!(text.starts_with("task `") && text.contains("holds it since"), "{text}");
    let mut waits = Box::pin(with_task(async |root| *session.lock(root).await += 1));
    let mut gives_up = Box::pin(with_task(async |root| *session.lock(root).await += 1));
    for _ in 0..3 {
        assert!(!poll(waits.as_mut()) && !poll(gives_up.as_mut()), "a wait is one, polled however often");
    }
    assert_eq!(session.stats().contended, 0, "nobody knows yet how long they wait");
    drop(gives_up);
    drop(holds);
    assert_eq!(session.stats().holders, [], "the next one has it and does not know");
    assert!(poll(waits.as_mut()));
    let stats = session.stats();
    assert_eq!((stats.acquisitions, stats.contended, stats.given_up, stats.waits.count()), (4, 2, 1, 2));
    assert!(stats.longest_wait > Duration::ZERO && stats.holds.count() == 4 && stats.holders.is_empty());
    assert!(stats.site.file().ends_with("tests/awaited_stats.rs"));
    drop(waits);
    drop(session);
    let class = watch::snapshot().classes.into_iter().find(|class| class.name == "Session").unwrap();
    assert_eq!((class.acquisitions, class.locks), (4, 0));
}

// REQ T4
#[test]
fn a_hold_that_was_in_the_way_of_others_is_known_with_its_site_when_it_was_not_timed() {
    let slow = Mutex::<Slow, _>::new(0);
    // Past these, few are timed, and this one is not.
    (0..1_000).for_each(|_| run(with_task(async |root| *slow.lock(root).await += 1)));
    let timed = slow.stats().holds.count();
    assert!((1..500).contains(&timed), "{timed} of a thousand");
    let held_at = line!() + 2;
    let mut holds = Box::pin(with_task(async |root| {
        let _slow = slow.lock(root).await;
        pending::<()>().await;
    }));
    let mut waits = Box::pin(with_task(async |root| *slow.lock(root).await += 1));
    assert!(!poll(holds.as_mut()) && !poll(waits.as_mut()));
    // sleep: a long hold is what is looked at.
    thread::sleep(Duration::from_millis(30));
    assert!(!poll(waits.as_mut()), "it waits since it came, not since it was last polled");
    drop(holds);
    assert!(poll(waits.as_mut()));
    let stats = slow.stats();
    let (held, site) = stats.longest_hold.unwrap();
    assert!(held >= Duration::from_millis(30) && stats.longest_wait >= held, "{held:?}");
    assert_eq!((site.line(), stats.holds.count()), (held_at, timed));
}

// REQ T4
#[test]
fn all_that_read_are_told_and_who_downgrades_is_one_of_them() {
    let lock = RwLock::<Read, _>::new(0);
    let (first_at, second_at) = (line!() + 2, line!() + 9);
    let mut first = Box::pin(with_task(async |root| {
        let mut written = lock.write(root).await;
        *written += 1;
        let read = written.downgrade();
        pending::<()>().await;
        drop(read);
    }));
    let mut second = Box::pin(with_task(async |root| {
        let _read = lock.read(root).await;
        pending::<()>().await;
    }));
    assert!(!poll(first.as_mut()) && !poll(second.as_mut()));
    let stats = lock.stats();
    assert_eq!(lines(&stats), [first_at, second_at]);
    assert!(stats.holders.iter().all(|holder| holder.access == Access::Shared));
    drop(first);
    assert_eq!(lines(&lock.stats()), [second_at]);
    run(with_task(async |root| assert!(lock.try_write(root).is_none() && lock.try_read(root).is_some())));
    drop(second);
    let stats = lock.stats();
    assert_eq!((stats.acquisitions, stats.contended, stats.holders.len()), (3, 0, 0));
}

// REQ T4
#[test]
fn a_thread_that_holds_is_in_the_snapshot_too() {
    let lock = unranked::RwLock::named("held by a thread", 0);
    let (line, held) = (line!(), lock.read());
    let seen = in_snapshot("held by a thread");
    let [holder] = &seen.holders[..] else { panic!("{:?}", seen.holders) };
    assert_eq!((holder.is_task, holder.access, holder.site.line()), (false, Access::Shared, line));
    assert_eq!(Some(&holder.thread[..]), thread::current().name());
    drop(held);
    assert_eq!(in_snapshot("held by a thread").holders, []);
}
