//! Several locks of one level within a time limit: all or none.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_locks::{
    Cap, Mutex, NotAll, Root, lock_all, lock_all_for, lock_all_until, lock_order, lock_pair_for,
    lock_pair_until, try_lock_all, try_lock_pair, with_root,
};
use std::thread;
use std::time::{Duration, Instant};

lock_order! { Account < Log; }

const SHORT: Duration = Duration::from_millis(5);

type Locks = [Mutex<Account, u32>; 4];

fn accounts() -> Locks {
    [const { Mutex::new(0) }; 4]
}

/// Runs `work` while another thread holds the lock at `busy`.
fn while_held(locks: &Locks, busy: usize, work: impl FnOnce(&mut Cap<Root>) + Send) {
    with_root(|root| {
        let _held = locks[busy].lock(root);
        thread::scope(|threads| threads.spawn(|| with_root(work)).join()).unwrap();
    });
}

fn not_free(error: NotAll) -> (usize, Duration) {
    let NotAll::NotFree { at, level, waited } = error else { panic!("{error}") };
    assert_eq!(level, "Account");
    (at, waited)
}

/// All but the one that another thread has.
fn assert_others_are_free(locks: &Locks, busy: usize, root: &mut Cap<Root>) {
    for (at, lock) in locks.iter().enumerate() {
        assert_eq!(lock.try_lock(root).is_some(), at != busy, "lock {at} while {busy} is held by another");
    }
}

// REQ T3
#[test]
fn a_group_that_is_not_had_in_time_is_let_go_whole_and_names_the_one_that_was_busy() {
    let locks = accounts();
    for busy in 0..locks.len() {
        while_held(&locks, busy, |root| {
            let (at, waited) = not_free(lock_all_for(root, &locks, SHORT).unwrap_err());
            assert!(at == busy && waited >= SHORT, "{at} after {waited:?}");
            assert_others_are_free(&locks, busy, root);
            let (at, _) = not_free(lock_all_until(root, locks.iter().rev(), Instant::now()).unwrap_err());
            assert_eq!(at, locks.len() - 1 - busy, "as they were named");
            assert_others_are_free(&locks, busy, root);
            let (at, waited) = not_free(try_lock_all(root, &locks).unwrap_err());
            assert_eq!((at, waited), (busy, Duration::ZERO));
            assert_others_are_free(&locks, busy, root);
        });
    }
}

// REQ T3
#[test]
fn a_pair_that_is_not_had_in_time_is_let_go_whole_and_nothing_is_called() {
    let locks = accounts();
    for (busy, other) in [(0, 1), (1, 0)] {
        while_held(&locks, busy, |root| {
            let never = |_: &mut u32, _: &mut u32, _: &mut Cap<Account>| panic!("called");
            let pair =
                |swapped| if swapped { (&locks[busy], &locks[other]) } else { (&locks[other], &locks[busy]) };
            for swapped in [false, true] {
                let (first, second) = pair(swapped);
                let expected = usize::from(!swapped);
                let (at, waited) = not_free(lock_pair_for(root, first, second, SHORT, never).unwrap_err());
                assert!(at == expected && waited >= SHORT, "{at} after {waited:?}");
                let late = lock_pair_until(root, first, second, Instant::now(), never).unwrap_err();
                assert_eq!(not_free(late).0, expected);
                assert_eq!(not_free(try_lock_pair(root, first, second, never).unwrap_err()).0, expected);
                assert_others_are_free(&locks, busy, root);
            }
        });
    }
}

// REQ T3
#[test]
fn a_group_that_is_free_is_had_with_any_limit_and_lends_its_capability() {
    let (locks, log) = (accounts(), Mutex::<Log, u32>::new(0));
    let soon = || Instant::now() + Duration::from_secs(60);
    with_root(|root| {
        let mut all = lock_all_for(root, &locks, Duration::MAX).unwrap();
        let (values, held) = all.parts();
        *log.lock(held) += values.len() as u32;
        drop(all);
        lock_all_until(root, &locks, soon()).unwrap().values().for_each(|value| *value += 1);
        try_lock_all(root, &locks).unwrap().values().for_each(|value| *value += 1);
        let add = |a: &mut u32, b: &mut u32, held: &mut Cap<Account>| {
            *log.lock(held) += 1;
            *a += *b;
        };
        lock_pair_for(root, &locks[0], &locks[1], Duration::MAX, add).unwrap();
        lock_pair_until(root, &locks[2], &locks[1], soon(), add).unwrap();
        try_lock_pair(root, &locks[3], &locks[1], add).unwrap();
        let mut all = lock_all(root, &locks).unwrap();
        assert_eq!(all.values().map(|value| *value).collect::<Vec<_>>(), [4, 2, 4, 4]);
        assert_eq!(*log.lock(all.cap()), 7);
    });
}

// REQ T1
#[test]
fn one_that_is_named_twice_is_refused_before_any_is_waited_for() {
    let locks = accounts();
    while_held(&locks, 0, |root| {
        let twice = lock_all_for(root, [&locks[1], &locks[0], &locks[1]], Duration::MAX).unwrap_err();
        let NotAll::Duplicate(twice) = twice else { panic!("{twice}") };
        assert_eq!((twice.first, twice.second), (0, 2));
        let same = lock_pair_for(root, &locks[0], &locks[0], Duration::MAX, |_, _, _| ());
        assert!(matches!(same, Err(NotAll::Duplicate(_))));
    });
}
