//! A storm on one of fifty channels: the others do not notice.

use super::*;

const CHANNELS: usize = 50;

/// What the others see: what was told of them, and what was done, when.
type Seen = (Vec<(String, Value)>, Vec<(Mono, String)>);

/// Each channel has a component that fails at its own time within a second, and whose restart works. In channel 17 there
/// are `faults` more in the same second.
fn second(faults: u64) -> (Rig, Seen) {
    let mut rig = Rig::plain();
    let components: Vec<Supervised> = (0..CHANNELS)
        .map(|at| rig.channel(&format!("c{at}")).supervise("mic").restart(fine).register().unwrap())
        .collect();
    let began = rig.now();
    for part in 0..1_000_u64 {
        let flood = (part + 1) * faults / 1_000 - part * faults / 1_000;
        (0..flood).for_each(|_| _ = components[17].fault(Code::EXECUTION, Severity::Error).report());
        if part % 20 == 7 {
            components[(part / 20) as usize].fault(Code::PANIC, Severity::Error).report();
        }
        // A flood may come while nobody looks.
        if part % 50 < 25 || part % 20 == 7 {
            rig.settle();
        }
        rig.now.store(began.plus(Duration::from_millis(part + 1)).as_nanos(), Relaxed);
    }
    rig.pass(Duration::from_secs(100));
    let others = |name: &str| !name.contains("c17");
    let done = rig.log.iter().filter(|(_, name)| others(name)).cloned().collect();
    let told = rig.written().into_iter().filter(|(kind, ..)| kind == "fault" || kind == "measure");
    let told = told.filter(|(_, channel, _)| channel.as_deref() != Some("c17"));
    let told = told.map(|(kind, channel, body)| {
        let what = if kind == "fault" { &body["fault"]["done"]["all"] } else { &body["measure"] };
        (channel.unwrap_or_default(), what.clone())
    });
    // What is of different channels may be written in either order.
    let mut told: Vec<_> = told.collect();
    told.sort_by(|one: &(String, Value), other| one.0.cmp(&other.0));
    (rig, (told, done))
}

// REQ E2, REQ E4, REQ W4
#[test]
fn ten_thousand_faults_in_a_second_change_nothing_for_the_other_channels() {
    let (_, calm) = second(0);
    let (rig, storm) = second(10_000);
    assert_eq!(calm.1.len(), CHANNELS - 1, "each is restarted once");
    assert_eq!(storm.1, calm.1, "the same is done at the same moments");
    assert_eq!(storm.0, calm.0, "the same is told");

    let written = rig.written();
    let of = |kind: &str| {
        let is_it =
            |entry: &&(String, Option<String>, Value)| entry.0 == kind && entry.1.as_deref() == Some("c17");
        written.iter().filter(is_it).map(|(_, _, body)| body.clone()).collect::<Vec<_>>()
    };
    let (told, sums) = (of("fault"), of("fault-summary"));
    assert!(told.len() <= 40 && sums.len() <= 8, "{} faults and {} sums", told.len(), sums.len());
    let summed: u64 = sums.iter().map(|sum| sum["count"].as_u64().unwrap()).sum();
    assert_eq!(summed + told.len() as u64, 10_001, "every fault is told or counted");
    assert!(sums.iter().all(|sum| sum["first"].as_u64() <= sum["last"].as_u64() && sum["who"] == "c17"));
    // No crash loop, and nothing but its channel's own.
    let restarts = rig.log.iter().filter(|(_, name)| name == "faults: restart c17/mic").count();
    assert!(restarts <= 4, "{restarts} restarts");
}

// REQ E1, REQ P5
#[test]
fn a_storm_that_nobody_looks_at_takes_no_more_memory_than_its_room() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    for _ in 0..10_000 {
        left.fault(Code::EXECUTION, Severity::Error).text("x".repeat(10_000)).report();
    }
    let waiting = left.lane.take(usize::MAX).0.len();
    assert_eq!(waiting, 64);
    assert_eq!(left.lane.counts(), (10_000, 10_000 - 64));
    rig.settle();
    assert!(rig.inner.with(|book| book.recent(usize::MAX)).len() <= 256);
}
