//! Locks and threads that are gone leave no memory behind. One test, so that no other one's memory is seen.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_locks::unranked::Mutex;
use std::thread;

/// Resident memory, in kilobytes.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn threads_that_lock_while_they_end_leave_nothing() {
    static LOCK: Mutex<u64> = Mutex::new(0);
    struct Flushes;
    impl Drop for Flushes {
        fn drop(&mut self) {
            *LOCK.lock() += 1;
        }
    }
    thread_local!(static BUFFER: Flushes = const { Flushes });
    let run = |count| {
        for _ in 0..count {
            let body = || {
                BUFFER.with(|_| ()); // before the first lock: gone after whatever the lock left
                *LOCK.lock() += 1;
            };
            thread::spawn(body).join().unwrap();
        }
    };
    run(200);
    let before = resident_kb();
    run(5_000);
    let grown = resident_kb().saturating_sub(before);
    assert!(grown < 4_000, "{grown} KB more");
}

fn a_million_locks_leave_nothing() {
    let run = |count| {
        for _ in 0..count {
            *Mutex::new(0_u32).lock() += 1;
        }
    };
    run(1_000);
    let before = resident_kb();
    run(1_000_000);
    let grown = resident_kb().saturating_sub(before);
    assert!(grown < 4_000, "{grown} KB more");
}

// REQ T4
#[test]
fn what_is_gone_leaves_no_memory_behind() {
    a_million_locks_leave_nothing();
    threads_that_lock_while_they_end_leave_nothing();
}
