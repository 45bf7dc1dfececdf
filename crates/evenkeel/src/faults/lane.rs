//! Faults of one channel, from whoever reports them to `ek-faults`.
//!
//! Invariants:
//! 1. Who reports never waits for more than the moves of a few words, and a channel's reports wait for no other's.
//! 2. At most [`WAITING_MAX`] faults wait, and [`OTHERS_MAX`] more of a component or code that none of the waiting
//!    ones has: a flood of one component does not hide what befalls another. Of more, only the count is kept.
//! 3. A channel's last fault is known at once, whether or not it is told.

use evenkeel_core::fault::{Code, Fault, FaultClass, Name, PublicFace, Severity};
use evenkeel_core::supervision::FaultId;
use evenkeel_hierarchy::{FaultLane, Mutex, with_root};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Faults of a channel that wait to be looked at. Each is bounded: some 20 KiB at the very most.
const WAITING_MAX: usize = 64;
/// More of them, of a component or code of which none waits.
const OTHERS_MAX: usize = 32;

/// Faults that were too many to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow {
    pub(super) count: u64,
    pub(super) first: FaultId,
    pub(super) last: FaultId,
    /// When, in nanoseconds since 1970.
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) severity: Severity,
    pub(super) by_class: [u64; FaultClass::ALL.len()],
}

impl Overflow {
    pub(super) fn of(id: FaultId, fault: &Fault) -> Self {
        let at = fault.unix_ns.unwrap_or_default();
        let mut by_class = [0; FaultClass::ALL.len()];
        by_class[fault.class().index()] = 1;
        let severity = fault.severity;
        Self { count: 1, first: id, last: id, from_ns: at, to_ns: at, severity, by_class }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.from_ns = self.from_ns.min(other.from_ns);
        self.to_ns = self.to_ns.max(other.to_ns);
        self.severity = self.severity.max(other.severity);
        self.by_class.iter_mut().zip(other.by_class).for_each(|(count, more)| *count += more);
    }
}

#[derive(Debug, Default)]
struct Intake {
    waiting: VecDeque<(FaultId, Fault)>,
    overflow: Option<Overflow>,
    last: Option<PublicFace>,
    reported: u64,
    left_out: u64,
}

/// The faults of one channel, or of none.
#[derive(Debug)]
pub(super) struct Lane {
    /// The channel; `None`: what is no channel's.
    pub(super) name: Option<Name>,
    intake: Mutex<FaultLane, Intake>,
    /// Something waits.
    has_any: AtomicBool,
    is_isolated: AtomicBool,
    /// A person wants it released.
    is_to_be_released: AtomicBool,
}

impl Lane {
    pub(super) fn new(name: Option<Name>) -> Self {
        Self {
            name,
            intake: Mutex::default(),
            has_any: AtomicBool::new(false),
            is_isolated: AtomicBool::new(false),
            is_to_be_released: AtomicBool::new(false),
        }
    }

    /// Takes a fault in, or counts it.
    pub(super) fn put(&self, id: FaultId, fault: Fault) {
        let face = fault.public_face();
        let too_many = with_root(|house| {
            let mut intake = self.intake.lock(house);
            intake.reported += 1;
            // What was there goes out with this, and is freed where nobody waits for it.
            let before = intake.last.replace(face);
            let fault = intake.admit(id, fault);
            self.has_any.store(true, Relaxed);
            (fault, before)
        });
        drop(too_many);
    }

    /// Notes a fault that is dealt with already.
    pub(super) fn note(&self, face: PublicFace) {
        let before = with_root(|house| {
            let mut intake = self.intake.lock(house);
            intake.reported += 1;
            intake.last.replace(face)
        });
        drop(before);
    }

    /// The next faults, at most so many; and what was too many, which waits for none of them: a flood may have no end.
    pub(super) fn take(&self, most: usize) -> (Vec<(FaultId, Fault)>, Option<Overflow>) {
        if !self.has_any.load(Relaxed) {
            return (Vec::new(), None);
        }
        with_root(|house| {
            let mut intake = self.intake.lock(house);
            let taken = most.min(intake.waiting.len());
            let faults = intake.waiting.drain(..taken).collect();
            let is_empty = intake.waiting.is_empty();
            self.has_any.store(!is_empty, Relaxed);
            (faults, intake.overflow.take())
        })
    }

    /// Whether something waits.
    pub(super) fn has_any(&self) -> bool {
        self.has_any.load(Relaxed)
    }

    /// What befell it last.
    pub(super) fn last(&self) -> Option<PublicFace> {
        with_root(|house| self.intake.lock(house).last.clone())
    }

    /// How many were reported, and of those left out.
    pub(super) fn counts(&self) -> (u64, u64) {
        with_root(|house| {
            let intake = self.intake.lock(house);
            (intake.reported, intake.left_out)
        })
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.is_isolated.load(Relaxed)
    }

    pub(super) fn set_isolated(&self, is_isolated: bool) {
        self.is_isolated.store(is_isolated, Relaxed);
    }

    /// Whether nobody had asked for its release before.
    pub(super) fn ask_for_release(&self) -> bool {
        !self.is_to_be_released.swap(true, Relaxed)
    }

    pub(super) fn release_is_looked_at(&self) {
        self.is_to_be_released.store(false, Relaxed);
    }
}

impl Intake {
    /// What there is no room for comes back, counted.
    fn admit(&mut self, id: FaultId, fault: Fault) -> Option<Fault> {
        let waiting = self.waiting.len();
        let kind = |fault: &Fault| -> (Option<Name>, Code, Severity) {
            (fault.component.clone(), fault.code, fault.severity)
        };
        let is_of_others =
            || self.waiting.iter().all(|(_, other)| other.code != fault.code || kind(other) != kind(&fault));
        if waiting < WAITING_MAX || (waiting < WAITING_MAX + OTHERS_MAX && is_of_others()) {
            self.waiting.push_back((id, fault));
            return None;
        }
        self.left_out += 1;
        let this = Overflow::of(id, &fault);
        match &mut self.overflow {
            Some(overflow) => overflow.add(&this),
            None => self.overflow = Some(this),
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use evenkeel_core::Mono;

    fn fault(component: &str) -> Fault {
        let component = Some(Name::new(component).unwrap());
        Fault { component, ..Fault::new(Code::PANIC, Severity::Error, Mono::from_nanos(1)) }
    }

    // REQ E4, REQ E1
    #[test]
    fn a_flood_takes_its_own_room_and_hides_nobody_else() {
        let lane = Lane::new(None);
        for id in 1..=10_000 {
            lane.put(FaultId(id), fault("mic"));
        }
        for id in 10_001..=10_002 {
            lane.put(FaultId(id), fault("meter"));
        }
        assert_eq!(lane.counts(), (10_002, 10_002 - 65));
        let (faults, overflow) = lane.take(10);
        assert_eq!(faults.len(), 10);
        let overflow = overflow.unwrap();
        let (faults, more) = lane.take(1_000);
        assert_eq!((faults.len(), more), (55, None));
        assert_eq!(faults.last().unwrap().0, FaultId(10_001));
        assert_eq!((overflow.count, overflow.first, overflow.last), (9_937, FaultId(65), FaultId(10_002)));
        assert_eq!(overflow.by_class[FaultClass::Panic.index()], 9_937);
        assert!(!lane.has_any() && lane.last().is_some());
        // Many kinds have an end as well.
        for id in 0..1_000 {
            lane.put(FaultId(id), fault(&format!("c{id}")));
        }
        assert_eq!(lane.take(usize::MAX).0.len(), WAITING_MAX + OTHERS_MAX);
    }
}
