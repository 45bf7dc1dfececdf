//! What users wrote for state machines finds nothing held, and may come back.

use crate::probe::Probe;
use crate::within_a_minute;
use evenkeel::prelude::*;
use evenkeel::state::{COMPONENT, ComponentState, StateMachine};
use evenkeel_locks::{Mutex as Locked, lock_order, with_root};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

lock_order! { Theirs; }
static THEIR_LOCK: Locked<Theirs, ()> = Locked::new(());

/// A machine that calls `probe` wherever it calls its user.
fn machine(keel: &Keel, probe: &Arc<Probe>) -> StateMachine<ComponentState> {
    let call = |kind: &'static str| {
        let (probe, dropped) = (probe.clone(), probe.on_drop("drop of a rule"));
        move || {
            let _ = &dropped;
            probe.called(kind);
        }
    };
    let (guard, invariant, undo) = (call("guard"), call("invariant"), call("compensation"));
    let builder = keel.channel("left").unwrap().machine(&COMPONENT, "watched");
    let builder = builder
        .guard("guard", move |_| {
            guard();
            Ok(())
        })
        .invariant("invariant", move |_| {
            invariant();
            Ok(())
        })
        .compensate(ComponentState::Registered, ComponentState::Running, "undo", move |_| {
            undo();
            Err("as told".to_owned())
        });
    builder.build().unwrap()
}

fn use_all(keel: &Keel, probe: &Arc<Probe>) {
    let theirs = probe.clone();
    keel.states().on_event(move |_| theirs.called("on_event"));
    let machine = machine(keel, probe);
    let (inline, aside, dropped) = (probe.clone(), probe.clone(), probe.on_drop("drop of an observer"));
    let first = machine.observe("inline", move |_| {
        let _ = &dropped;
        inline.called("observer");
    });
    let has_waited = AtomicBool::new(false);
    let second = machine.observe("aside", move |_| {
        if has_waited.swap(true, Ordering::SeqCst) {
            aside.called("observer from its mailbox");
        } else {
            // sleep: so that it gets a mailbox.
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let (first, _second) = (first.unwrap(), second.unwrap());
    let begin = machine.checkpoint();
    machine.change(ComponentState::Running, "probe").unwrap();
    machine.change(ComponentState::Degraded, "probe").unwrap();
    assert!(machine.take_back(begin, "probe").is_err());
    assert!(machine.settled(Duration::from_secs(30)));
    drop(first);
    drop(machine);
}

const KINDS: [&str; 8] = [
    "guard",
    "invariant",
    "compensation",
    "observer",
    "observer from its mailbox",
    "on_event",
    "drop of an observer",
    "drop of a rule",
];

// REQ T1, REQ T9, REQ S7
#[test]
fn what_a_user_wrote_for_a_machine_finds_nothing_held_and_may_come_back() {
    within_a_minute(|| {
        let probe = Arc::new(Probe::default());
        let keel = Keel::builder("held").without_signals().keep_process().build().unwrap();
        probe.may_use(&keel);
        // Also when the caller holds locks of its own.
        with_root(|root| {
            let _theirs = THEIR_LOCK.lock(root);
            use_all(&keel, &probe);
        });
        KINDS.iter().for_each(|kind| probe.wait_for(kind));
        assert_eq!((probe.faults(), probe.unknown(&KINDS)), (Vec::<String>::new(), Vec::<&str>::new()));
        keel.stop("enough", "the test");
    });
}
