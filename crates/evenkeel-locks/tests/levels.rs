//! Locks on levels at run time: roots, panics, time limits, groups.

use evenkeel_locks::{
    Condvar, Mutex, RootTaken, RwLock, lock_all, lock_order, lock_pair, try_with_root, with_root,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

lock_order! {
    Outer < Middle < Inner;
    Beside;
    also Outer < Beside;
}

const SHORT: Duration = Duration::from_millis(5);

// REQ T1
#[test]
fn a_thread_has_one_root_at_a_time() {
    with_root(|_| {
        assert_eq!(try_with_root(|_| ()), Err(RootTaken));
        thread::scope(|threads| assert!(threads.spawn(|| try_with_root(|_| ()).is_ok()).join().unwrap()));
    });
    assert!(catch_unwind(|| with_root(|_| with_root(|_| ()))).is_err());
    assert_eq!(try_with_root(|_| 5), Ok(5));
}

// REQ E5
#[test]
fn a_panic_gives_back_the_root_and_every_lock() {
    let (outer, inner) = (Mutex::<Outer, _>::new(1), RwLock::<Inner, _>::new(1));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        with_root(|root| {
            let mut outer = outer.lock(root);
            let (outer, held) = outer.parts();
            *outer = 2;
            let _written = inner.write(held);
            panic!("planted");
        })
    }));
    assert!(panicked.is_err());
    with_root(|root| {
        assert_eq!(outer.try_lock(root).as_deref(), Some(&2));
        assert!(inner.try_write(root).is_some());
    });
}

#[test]
fn outside_takes_its_own_root_and_a_panic_there_harms_nothing() {
    let lock = Mutex::<Inner, _>::new(0);
    with_root(|root| {
        root.outside(|| with_root(|root| *lock.lock(root) += 1));
        let panicked = catch_unwind(AssertUnwindSafe(|| root.outside(|| panic!("planted"))));
        assert!(panicked.is_err());
        assert_eq!(try_with_root(|_| ()), Err(RootTaken));
        assert_eq!(*lock.lock(root), 1);
    });
    assert!(try_with_root(|_| ()).is_ok());
}

// REQ T3
#[test]
fn what_is_not_free_in_time_is_refused() {
    let (mutex, lock) = (Mutex::<Outer, _>::new(0), RwLock::<Inner, _>::new(0));
    with_root(|root| {
        let mut guard = mutex.lock(root);
        let _written = lock.write(guard.cap());
        let other = || {
            with_root(|root| {
                assert!(mutex.try_lock(root).is_none());
                assert_eq!(mutex.lock_for(root, SHORT).unwrap_err().level, "Outer");
                assert!(mutex.lock_until(root, Instant::now()).is_err());
                assert!(lock.try_read(root).is_none() && lock.try_write(root).is_none());
                assert_eq!(lock.read_for(root, SHORT).unwrap_err().waited, SHORT);
                assert!(lock.write_for(root, SHORT).is_err());
                assert!(lock.read_until(root, Instant::now() + SHORT).is_err());
                assert!(lock.write_until(root, Instant::now() + SHORT).is_err());
            });
        };
        thread::scope(|threads| threads.spawn(other).join()).unwrap();
    });
    with_root(|root| assert!(lock.read_for(mutex.lock_for(root, SHORT).unwrap().cap(), SHORT).is_ok()));
}

#[test]
fn who_downgrades_reads_on_and_lets_others_read() {
    let lock = RwLock::<Inner, _>::new(0);
    with_root(|root| {
        let mut written = lock.write(root);
        *written = 4;
        let read = written.downgrade();
        let other = || with_root(|root| lock.try_read(root).map(|read| *read));
        assert_eq!(thread::scope(|threads| threads.spawn(other).join().unwrap()), Some(4));
        assert_eq!(*read, 4);
    });
}

#[test]
fn a_condition_is_waited_for_with_the_outer_locks_held() {
    static ROOM: Mutex<Middle, u32> = Mutex::new(0);
    static CHANGED: Condvar = Condvar::new();
    let outer = Mutex::<Outer, _>::new(());
    thread::scope(|threads| {
        let (waits, waiting) = mpsc::channel();
        let waiter = threads.spawn(|| {
            let waits = waits;
            with_root(|root| {
                let mut outer = outer.lock(root);
                let mut room = ROOM.lock(outer.cap());
                assert!(CHANGED.wait_for(&mut room, SHORT).timed_out());
                assert!(CHANGED.wait_until(&mut room, Instant::now()).timed_out());
                assert!(CHANGED.wait_while_for(&mut room, |room| *room == 0, SHORT).timed_out());
                waits.send(()).unwrap();
                CHANGED.wait_while(&mut room, |room| *room == 0);
                *room
            })
        });
        waiting.recv().unwrap();
        // The waiter sends with the mutex locked: whoever has it next comes after the wait began.
        with_root(|root| *ROOM.lock(root) = 3);
        CHANGED.notify_all();
        assert_eq!(waiter.join().unwrap(), 3);
    });
}

// REQ T1
#[test]
#[cfg_attr(miri, ignore = "thousands of rounds")]
fn groups_in_every_order_do_not_wait_for_each_other() {
    let locks = [const { Mutex::<Middle, u32>::new(0) }; 4];
    const ROUNDS: usize = 2_000;
    thread::scope(|threads| {
        for thread in 0..4 {
            let locks = &locks;
            threads.spawn(move || {
                for round in 0..ROUNDS {
                    let (a, b) = ((thread + round) % 4, (thread * 3 + round * 2 + 1) % 4);
                    with_root(|root| {
                        if a == b {
                            let duplicate = lock_all(root, [&locks[a], &locks[b]]).unwrap_err();
                            assert_eq!((duplicate.first, duplicate.second), (0, 1));
                            *locks[a].lock(root) += 2;
                        } else {
                            let mut both = lock_all(root, [&locks[a], &locks[b]]).unwrap();
                            both.values().for_each(|value| *value += 1);
                        }
                    });
                }
            });
        }
    });
    let sum: u32 = locks.into_iter().map(Mutex::into_inner).sum();
    assert_eq!(sum as usize, 4 * ROUNDS * 2);
}

#[test]
fn a_group_lends_one_capability_and_a_pair_too() {
    let (a, b) = (Mutex::<Outer, _>::new(1), Mutex::<Outer, _>::new(2));
    let (named, inner) = (Mutex::<Outer, _>::new("c"), Mutex::<Inner, _>::new(0));
    with_root(|root| {
        let mut group = lock_all(root, [&b, &a]).unwrap();
        assert_eq!((group[0], group[1], group.len()), (2, 1, 2));
        let (values, held) = group.parts();
        *inner.lock(held) += values.into_iter().map(|value| *value).sum::<i32>();
    });
    with_root(|root| {
        let joined = lock_pair(root, &named, &a, |name, a, held| format!("{name}{a}{}", *inner.lock(held)));
        assert_eq!(joined.unwrap(), "c13");
        assert!(lock_pair(root, &a, &a, |_, _, _| ()).is_err());
        assert!(a.try_lock(root).is_some());
    });
}
