//! Locks that are awaited, on an executor of a few lines: threads that poll whatever was woken.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_locks::r#async::{Mutex, RwLock, TaskCap, with_task};
use evenkeel_locks::{Mutex as Blocking, Root, RootTaken, lock_order, try_with_root, with_root};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

lock_order! {
    async Session < Request < Routes;
    Counters < Log;
}

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    body: std::sync::Mutex<Option<Body>>,
    woken: mpsc::Sender<Arc<Task>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        // Nobody takes it any more: all tasks are over.
        let _ = self.woken.clone().send(self);
    }
}

/// Runs these tasks to their end on so many threads, which take them from one another.
fn run(threads: usize, bodies: impl IntoIterator<Item = Body>) {
    let (woken, ready) = mpsc::channel::<Arc<Task>>();
    let left = AtomicUsize::new(0);
    for body in bodies {
        left.fetch_add(1, Ordering::Relaxed);
        let task = Task { body: std::sync::Mutex::new(Some(body)), woken: woken.clone() };
        woken.send(Arc::new(task)).unwrap();
    }
    let ready = std::sync::Mutex::new(ready);
    let next = || {
        let ready = ready.lock().unwrap();
        // A wake-up that is lost ends the test here.
        ready.recv_timeout(Duration::from_secs(20)).expect("somebody is woken")
    };
    let work = || {
        while left.load(Ordering::Relaxed) > 0 {
            let task = next();
            let waker = Waker::from(task.clone());
            let mut body = task.body.lock().unwrap();
            let Some(future) = body.as_mut() else { continue };
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                continue;
            }
            *body = None;
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                // The others wait for something to come.
                (0..threads).for_each(|_| woken.send(task.clone()).unwrap());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

/// Gives way to the others once.
async fn give_way() {
    let mut has_given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Drops a future that is not over after so many polls.
async fn within<T>(polls: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

// REQ T3
#[test]
fn tasks_that_lock_wait_and_give_up_lose_nothing() {
    const TASKS: u64 = 16;
    const ROUNDS: u64 = 400;
    let session = Arc::new(Mutex::<Session, u64>::new(0));
    let routes = Arc::new(RwLock::<Routes, [u64; 2]>::new([0; 2]));
    static BLOCKING: Blocking<Counters, u64> = Blocking::new(0);
    let (given_up, locked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let bodies = (0..TASKS).map(|task| {
        let (session, routes) = (session.clone(), routes.clone());
        let (given_up, locked) = (given_up.clone(), locked.clone());
        let body = async move {
            for round in 0..ROUNDS {
                with_task(async |root| {
                    let polls = if (task + round) % 3 == 0 { round % 4 } else { u64::MAX };
                    let Some(mut held) = within(polls, session.lock(root)).await else {
                        given_up.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    locked.fetch_add(1, Ordering::Relaxed);
                    let (value, held) = held.parts();
                    *value += 1;
                    give_way().await;
                    held.sync(|held| *BLOCKING.lock(held) += 1);
                })
                .await;
                with_task(async |root| {
                    if (task + round) % 5 == 0 {
                        let mut written = routes.write(root).await;
                        written[0] += 1;
                        give_way().await;
                        written[1] += 1;
                        let read = if round % 2 == 0 { Some(written.downgrade()) } else { None };
                        give_way().await;
                        assert!(read.is_none_or(|read| read[0] == read[1]));
                    } else if let Some(read) = within(round % 3, routes.read(root)).await {
                        give_way().await;
                        assert_eq!(read[0], read[1]);
                    }
                })
                .await;
            }
        };
        Box::pin(body) as Body
    });
    run(3, bodies);
    let (given_up, locked) = (given_up.load(Ordering::Relaxed), locked.load(Ordering::Relaxed));
    assert!(given_up > 0 && given_up + locked == TASKS * ROUNDS, "{given_up} gave up");
    with_root(|root| assert_eq!(*BLOCKING.lock(root), locked));
    block_on(with_task(async |root| {
        assert_eq!(*session.try_lock(root).unwrap(), locked);
        assert_eq!(routes.try_write(root).unwrap()[1], TASKS * ROUNDS / 5);
    }));
}

/// Polls once what has nothing to wait for.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

// REQ T1
#[test]
fn a_task_has_one_root_and_its_thread_none_beside() {
    let panics = |work: &dyn Fn()| catch_unwind(AssertUnwindSafe(work)).is_err();
    assert!(panics(&|| block_on(with_task(async |_| with_task(async |_| ()).await))));
    assert!(panics(&|| with_root(|_| block_on(with_task(async |_| ())))));
    block_on(with_task(async |root| {
        assert_eq!(try_with_root(|_| ()), Err(RootTaken));
        root.sync(|_| assert_eq!(try_with_root(|_| ()), Err(RootTaken)));
        assert_eq!(try_with_root(|_| ()), Err(RootTaken));
        root.sync(|root| root.outside(|| with_root(|_| ())));
    }));
    assert_eq!(try_with_root(|_| ()), Ok(()));
}

// REQ T1
#[test]
fn the_capability_of_a_task_opens_nothing_for_a_thread_that_may_hold_locks() {
    static COUNTERS: Blocking<Counters, u64> = Blocking::new(0);
    block_on(with_task(async |root| {
        let refused = |root: &mut TaskCap<Root>| {
            with_root(|mine| {
                let _held = COUNTERS.lock(mine);
                catch_unwind(AssertUnwindSafe(|| root.sync(|held| COUNTERS.try_lock(held).is_some())))
                    .is_err()
            })
        };
        thread::scope(|threads| assert!(threads.spawn(|| refused(root)).join().unwrap()));
        let other = || root.sync(|_| ());
        thread::scope(|threads| assert!(threads.spawn(other).join().is_err()));
    }));
}

// REQ T1
#[test]
fn the_capability_of_one_task_opens_nothing_in_another() {
    let (session, request) = (Mutex::<Session, _>::new(0), Mutex::<Request, _>::new(0));
    block_on(with_task(async |mine| {
        // Both roots in one hand, with which the order could be turned round.
        let other = || {
            block_on(with_task(async |theirs| {
                let _request = request.lock(theirs).await;
                session.try_lock(mine).is_some()
            }))
        };
        thread::scope(|threads| assert!(threads.spawn(other).join().is_err()));
        assert!(session.try_lock(mine).is_some());
        // A wait that begins in one task and would end in another.
        let mut holds =
            Box::pin(async { with_task(async |root| (session.lock(root).await, give_way().await).1).await });
        let body = || {
            let poll = |future: Pin<&mut dyn Future<Output = ()>>| {
                future.poll(&mut Context::from_waker(Waker::noop()))
            };
            assert!(poll(holds.as_mut()).is_pending());
            holds
        };
        let holds = thread::scope(|threads| threads.spawn(body).join().unwrap());
        let mut waits = Box::pin(session.lock(mine));
        assert!(poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await);
        drop(holds);
        let other = || block_on(with_task(async |_| drop(waits.await)));
        thread::scope(|threads| assert!(threads.spawn(other).join().is_err()));
        assert!(session.try_lock(mine).is_some());
    }));
}

// REQ E5
#[test]
fn a_panic_in_a_task_lets_go() {
    let (session, log) = (Mutex::<Session, _>::new(1), Blocking::<Log, _>::new(0));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        block_on(with_task(async |root| {
            let mut session = session.lock(root).await;
            *session = 2;
            session.cap().sync(|held| {
                let _log = log.lock(held);
                panic!("planted");
            })
        }))
    }));
    assert!(panicked.is_err());
    block_on(with_task(async |root| assert_eq!(*session.lock(root).await, 2)));
    with_root(|root| assert!(log.try_lock(root).is_some()));
}

// REQ T3
#[test]
fn a_task_that_is_dropped_while_it_holds_or_waits_lets_go() {
    let (session, request) = (Mutex::<Session, _>::new(1), Mutex::<Request, _>::new(1));
    let poll = |task: Pin<&mut dyn Future<Output = ()>>| {
        assert!(task.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    };
    {
        let mut holds = pin!(with_task(async |root| {
            let mut session = session.lock(root).await;
            let _request = request.lock(session.cap()).await;
            std::future::pending::<()>().await;
        }));
        poll(holds.as_mut());
        let mut waits = pin!(with_task(async |root| {
            let _request = request.lock(root).await;
        }));
        poll(waits.as_mut());
        block_on(with_task(async |root| assert!(session.try_lock(root).is_none())));
    }
    block_on(with_task(async |root| {
        let mut session = session.try_lock(root).unwrap();
        assert!(request.try_lock(session.cap()).is_some());
    }));
}
