//! Many threads at one machine: its changes are one line, whoever looks.

use super::observers::Seen;
use super::{LAMP, LONG, Lamp};
use evenkeel::state::{Change, ChangeError, Point, State, StateMachine, States, TakeBackError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const THREADS: u64 = 6;
const CHANGES: usize = 400;

/// A change that returned: when it was asked for and when it was back, in a common count.
struct Made {
    sequence: u64,
    asked: u64,
    back: u64,
}

fn wander(lamp: &StateMachine<Lamp>, seed: u64, clock: &AtomicU64) -> Vec<Made> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut made = Vec::new();
    for _ in 0..CHANGES {
        let asked = clock.fetch_add(1, Ordering::SeqCst);
        let to = Lamp::ALL[random.usize(..4)];
        let sequence = if random.u8(..20) == 0 {
            let point = Point::after(lamp.sequence().saturating_sub(random.u64(1..4)));
            match lamp.take_back(point, "back") {
                Ok(back) => Some(back.sequence),
                Err(TakeBackError::Refused { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        } else if random.u8(..40) == 0 {
            drop(lamp.propose(to, "given up"));
            None
        } else {
            match lamp.change_within(to, "wander", LONG) {
                Ok(changed) => Some(changed.sequence),
                Err(
                    ChangeError::Refused { .. } | ChangeError::Guard { .. } | ChangeError::Invariant { .. },
                ) => None,
                Err(error) => panic!("{error}"),
            }
        };
        let back = clock.fetch_add(1, Ordering::SeqCst);
        made.extend(sequence.map(|sequence| Made { sequence, asked, back }));
    }
    made
}

// REQ S1, REQ S4, REQ S7, REQ Q4
#[test]
fn whatever_threads_do_changes_are_one_line_and_every_observer_sees_all_of_it() {
    for seed in 0..4 {
        let all = States::default();
        let dice = Mutex::new(fastrand::Rng::with_seed(seed));
        let builder = all.machine(&LAMP, "lamp").outbox(16).guard("chance", move |_| {
            if dice.lock().unwrap().u8(..10) == 0 { Err("bad luck".to_owned()) } else { Ok(()) }
        });
        let lamp = builder.invariant("none", |_| Ok(())).build().unwrap();
        let line: Arc<Mutex<Vec<Change<Lamp>>>> = Arc::default();
        let (writes, slow, late) = (line.clone(), Seen::default(), Seen::default());
        let _line = lamp.observe("line", move |change| writes.lock().unwrap().push(change.clone())).unwrap();
        let sees = slow.clone();
        let _slow = lamp.observe("slow", move |change| {
            if change.sequence % 50 == 0 {
                // sleep: to be slow is what is tried here.
                thread::sleep(std::time::Duration::from_millis(3));
            }
            sees.add(change.sequence);
        });
        let clock = AtomicU64::new(0);
        let (mut made, late_since) = thread::scope(|threads| {
            let wanderers: Vec<_> = (0..THREADS)
                .map(|at| {
                    let (lamp, clock) = (&lamp, &clock);
                    threads.spawn(move || wander(lamp, seed * 100 + at, clock))
                })
                .collect();
            let sees = late.clone();
            let observed = lamp.observe("late", move |change| sees.add(change.sequence)).unwrap();
            let since = observed.since().1;
            observed.keep();
            let made: Vec<Made> = wanderers.into_iter().flat_map(|one| one.join().unwrap()).collect();
            (made, since)
        });
        assert!(lamp.settled(LONG));
        // Every number is given once, and who was back before another asked has the lower one.
        made.sort_by_key(|made| made.sequence);
        let numbers: Vec<u64> = made.iter().map(|made| made.sequence).collect();
        assert_eq!(numbers, (1..=lamp.sequence()).collect::<Vec<_>>(), "seed {seed}");
        let mut latest_asked = 0;
        for one in &made {
            assert!(
                one.back > latest_asked,
                "seed {seed}: change {} was before one it followed",
                one.sequence
            );
            latest_asked = latest_asked.max(one.asked);
        }
        // The line is whole, each change begins where the one before led, and it leads to where the machine is.
        let line = line.lock().unwrap();
        let mut at = Lamp::Off;
        for (change, sequence) in line.iter().zip(1..) {
            assert_eq!((change.sequence, change.from), (sequence, at), "seed {seed}");
            at = change.to;
        }
        assert_eq!((line.len() as u64, at), (lamp.sequence(), lamp.state()));
        assert_eq!(slow.all(), numbers, "seed {seed}");
        assert_eq!(late.all(), (late_since + 1..=lamp.sequence()).collect::<Vec<_>>(), "seed {seed}");
        assert!(all.check().is_sound());
    }
}
