use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

/// Counts its calls.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One that comes to a gate.
struct Comer<'g> {
    enter: Pin<Box<Enter<'g>>>,
    access: Access,
    calls: Arc<Calls>,
    /// It knows that it is inside.
    is_inside: bool,
}

impl<'g> Comer<'g> {
    fn new(gate: &'g Gate, access: Access) -> Self {
        Self { enter: Box::pin(gate.enter(access)), access, calls: Arc::default(), is_inside: false }
    }

    fn poll(&mut self) -> bool {
        let waker = Waker::from(self.calls.clone());
        self.is_inside = self.enter.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        self.is_inside
    }

    fn is_woken(&self) -> bool {
        self.calls.0.load(Ordering::Relaxed) > 0
    }

    /// Goes out, or gives up.
    fn go(self, gate: &Gate) {
        drop(self.enter);
        if self.is_inside {
            gate.leave();
        }
    }
}

fn come<const N: usize>(gate: &Gate, access: [Access; N]) -> [Comer<'_>; N] {
    access.map(|access| {
        let mut comer = Comer::new(gate, access);
        let _ = comer.poll();
        comer
    })
}

use Access::{Exclusive, Shared};

#[test]
fn who_comes_first_goes_in_first_and_nobody_goes_past() {
    let gate = Gate::new();
    let [one, mut two, mut three] = come(&gate, [Exclusive; 3]);
    assert!(one.is_inside && gate.waiters() == 2);
    one.go(&gate);
    assert!(two.is_woken() && !three.is_woken() && !gate.try_enter(Exclusive) && !three.poll());
    assert!(two.poll());
    two.go(&gate);
    assert!(three.poll());
    three.go(&gate);
    assert!(!gate.is_entered() && gate.waiters() == 0);
}

#[test]
fn who_was_let_in_and_is_dropped_hands_on() {
    let gate = Gate::new();
    let [one, two, mut three] = come(&gate, [Exclusive; 3]);
    one.go(&gate);
    assert!(two.is_woken());
    two.go(&gate);
    assert!(three.is_woken() && three.poll());
    three.go(&gate);
    assert!(gate.try_enter(Shared));
}

#[test]
fn who_gives_up_at_the_head_is_in_nobodys_way() {
    let gate = Gate::new();
    let [reads, writes, mut waits] = come(&gate, [Shared, Exclusive, Shared]);
    assert!(reads.is_inside && !waits.is_inside, "a reader waits behind a writer");
    writes.go(&gate);
    assert!(waits.is_woken() && waits.poll());
    reads.go(&gate);
    waits.go(&gate);
    assert!(!gate.is_entered());
}

#[test]
fn the_waker_of_the_last_poll_is_called() {
    let gate = Gate::new();
    let [writes, mut waits] = come(&gate, [Exclusive; 2]);
    let first = std::mem::take(&mut waits.calls);
    assert!(!waits.poll());
    writes.go(&gate);
    assert!(waits.is_woken() && first.0.load(Ordering::Relaxed) == 0);
}

#[test]
fn who_downgrades_lets_the_readers_at_the_head_in() {
    let gate = Gate::new();
    let [_writes, mut one, mut two, mut writes] = come(&gate, [Exclusive, Shared, Shared, Exclusive]);
    gate.downgrade();
    assert!(one.poll() && two.poll() && !writes.poll());
}

/// Against a list of those who came, in order.
#[test]
fn whatever_comes_and_goes_the_order_is_kept_and_all_that_is_let_in_is_woken() {
    let gate = Gate::new();
    let mut random = 7_u64;
    let mut comers: Vec<Comer<'_>> = Vec::new();
    for _ in 0..if cfg!(miri) { 100 } else { 100_000 } {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pick = (random >> 33) as usize;
        match pick % 4 {
            0 if comers.len() < 12 => {
                let access = if (pick / 4).is_multiple_of(3) { Exclusive } else { Shared };
                comers.extend(come(&gate, [access]));
            }
            1 if !comers.is_empty() => comers.remove(pick / 4 % comers.len()).go(&gate),
            _ => {
                // Only who was woken is polled: a wake-up that is lost leaves it waiting.
                let woken = comers.iter_mut().filter(|comer| !comer.is_inside && comer.is_woken());
                woken.for_each(|comer| assert!(comer.poll(), "woken for nothing"));
            }
        }
        // Those that were let in come before those that wait, and are as many as there is room for.
        let queued = gate.waiters();
        let (inside, waits) = comers.split_at(comers.len() - queued);
        assert!(inside.iter().all(|comer| comer.is_inside || comer.is_woken()));
        assert!(waits.iter().all(|comer| !comer.is_inside && !comer.is_woken()));
        assert!(inside.len() < 2 || inside.iter().all(|comer| comer.access == Shared));
        if let Some(first) = waits.first() {
            assert!(
                inside.iter().chain([first]).any(|comer| comer.access == Exclusive) && !inside.is_empty()
            );
        }
    }
    comers.into_iter().for_each(|comer| comer.go(&gate));
    assert!(!gate.is_entered() && gate.waiters() == 0);
}
