//! Whenever it comes, every fault is told or counted: in a flood without end, after the last word of supervision, at the end.

use super::*;

/// Faults in the journal: one by one, and in sums.
fn in_journal(written: &[(String, Option<String>, Value)]) -> (u64, u64) {
    let of = |wanted: &'static str| written.iter().filter(move |(kind, ..)| kind == wanted);
    (of("fault").count() as u64, of("fault-summary").map(|(.., body)| body["count"].as_u64().unwrap()).sum())
}

// REQ E1, REQ E6
#[test]
fn faults_before_and_after_supervision_stops_the_system_are_told_or_counted() {
    let mut policies = Policies::default();
    policies[FaultClass::Storage].stops_system_when_critical = true;
    let mut rig = Rig::new(policies, Limits::default(), 7);
    let (left, right) = (rig.channel("left"), rig.channel("right"));
    (0..60).for_each(|_| _ = left.fault(Code::EXITED, Severity::Error).report());
    rig.settle();
    left.fault(Code::STORAGE_FULL, Severity::Critical).report();
    rig.settle();
    assert_eq!(rig.stops.lock().unwrap().len(), 1);
    // The stop itself has not begun yet, or it has: both are told in measure.
    (0..60).for_each(|_| _ = right.fault(Code::PANIC, Severity::Error).report());
    rig.settle();
    rig.inner.is_over.store(true, Relaxed);
    rig.pass(Duration::from_secs(100));
    left.fault(Code::STORAGE_FULL, Severity::Critical).report();
    rig.settle();
    rig.system().fault(Code::EXECUTION, Severity::Error).report();
    rig.pass(Duration::from_secs(100));
    let written = rig.written();
    let (told, summed) = in_journal(&written);
    assert_eq!(told + summed, 60 + 1 + 60 + 2, "{told} told, {summed} summed");
    let most = u64::from(Limits::default().tells_max);
    assert_eq!(told, most + 1 + most + 2);
    let last = written.iter().rfind(|(kind, ..)| kind == "fault").unwrap();
    assert_eq!((last.1.as_deref(), &last.2["fault"]["code"]), (None, &Value::from("EK-0200")));
}

// REQ E1, REQ E4
#[test]
fn what_a_flood_without_end_leaves_out_is_summed_while_it_goes_on() {
    const ROUNDS: u64 = 3_000;
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let mut waited_most = 0;
    for round in 0..ROUNDS {
        (0..40).for_each(|_| _ = left.fault(Code::EXECUTION, Severity::Error).report());
        rig.desk.round();
        assert!(left.lane.has_any(), "it never ends");
        let now = rig.now().plus(Duration::from_millis(100));
        rig.now.store(now.as_nanos(), Relaxed);
        let accounted = rig.inner.told.load(Relaxed) + rig.inner.summed.load(Relaxed);
        waited_most = waited_most.max((round + 1) * 40 - accounted);
    }
    // What was reported in two periods, and what has room.
    let period = u64::try_from(Limits::default().tell_period.as_millis()).unwrap() / 100 * 40;
    assert!(waited_most <= 2 * period + 200, "{waited_most} of which nothing was said");
}

// REQ E1
#[test]
fn a_sum_that_is_asked_for_leaves_nothing_uncounted() {
    let mut rig = Rig::plain();
    let (left, right) = (rig.channel("left"), rig.channel("right"));
    (0..50).for_each(|_| _ = left.fault(Code::EXECUTION, Severity::Error).report());
    rig.settle();
    (0..200).for_each(|_| _ = left.fault(Code::EXECUTION, Severity::Error).report());
    (0..200).for_each(|_| _ = right.fault(Code::EXECUTION, Severity::Error).report());
    rig.inner.is_over.store(true, Relaxed);
    let (waits, summed) = sync_channel(1);
    rig.inner.inbox.post(News::SumUp(waits));
    rig.desk.round();
    summed.try_recv().unwrap();
    let (told, summed) = in_journal(&rig.written());
    assert_eq!(told + summed, 450, "{told} told, {summed} summed");
}
