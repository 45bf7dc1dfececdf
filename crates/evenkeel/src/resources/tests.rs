#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
use super::watch::{Alert, PoolWatch};
use super::*;
use evenkeel_core::fault::{Code, Severity};

fn small(slots: u32) -> ResourcePool {
    let tiers = PoolBuilder::default().tiers([Tier { bytes: 4096, slots }]);
    let options = PoolOptions::default().memory(tiers).component_bytes_max(1 << 30);
    ResourcePool::new(options).unwrap()
}

fn codes(alerts: &[Alert]) -> Vec<Code> {
    alerts.iter().map(|alert| alert.code).collect()
}

// REQ R6, REQ E6
#[test]
fn what_is_held_too_long_is_told_once_with_holder_and_place() {
    let pool = small(100);
    let mic = pool.account(Some("left"), "mic", None).unwrap();
    let watch = PoolWatch::new(&pool);
    assert!(watch.look_at(&pool, 0, None).is_empty());
    mic.set_held_max(Some(30));
    let held = mic.take(1).unwrap();
    assert!(watch.look_at(&pool, 20, None).is_empty());
    let alerts = watch.look_at(&pool, 40, None);
    assert_eq!(codes(&alerts), [Code::HELD_TOO_LONG]);
    assert_eq!(alerts[0].whose, Some(("left".to_owned(), Some("mic".to_owned()))));
    assert!(
        alerts[0].text.contains("left/mic") && alerts[0].text.contains("resources/tests.rs"),
        "{alerts:?}"
    );
    assert!(watch.look_at(&pool, 41, None).is_empty());
    drop(held);
    assert!(watch.look_at(&pool, 42, None).is_empty());
}

// REQ R6, REQ R10: the service's own threads run for as long as it, and are not told of.
#[test]
fn what_is_counted_and_held_too_long_is_told_once_but_not_the_threads_of_the_service() {
    let keel = crate::Keel::builder("held").without_signals().keep_process().build().unwrap();
    let pool = keel.monitoring().pool();
    assert!(pool.counted_holders().iter().any(|holder| holder.kind == THREADS), "there are some");
    let watch = PoolWatch::new(pool);
    assert_eq!(watch.look_at(pool, 100_000, None), []);
    let report = keel.stop("enough", "the test");
    assert!(report.clean, "{report:#?}");
    let pool = small(1);
    let (mic, watch) = (pool.account(Some("left"), "mic", None).unwrap(), PoolWatch::new(&pool));
    assert!(watch.look_at(&pool, 0, None).is_empty());
    let (files, outside) = (mic.count(FILES, 2).unwrap(), count_outside(&mic, 10_000).unwrap());
    assert!(watch.look_at(&pool, 299, None).is_empty());
    let alerts = watch.look_at(&pool, 300, None);
    assert_eq!(codes(&alerts), [Code::HELD_TOO_LONG; 2]);
    for (alert, what) in alerts.iter().zip(["2 files", "3 pages outside the pool"]) {
        assert_eq!(alert.whose, Some(("left".to_owned(), Some("mic".to_owned()))));
        assert!(alert.text.contains(what) && alert.text.contains("resources/tests.rs"), "{alert:?}");
    }
    assert!(watch.look_at(&pool, 301, None).is_empty());
    drop((files, outside));
    assert!(watch.look_at(&pool, 100_000, None).is_empty());
}

// REQ R8, REQ M2
#[test]
fn a_limit_that_is_near_is_told_at_each_level_and_whose_it_is() {
    let pool = small(100);
    let limits = Limits { bytes_max: Some(20 * 4096), ..Limits::default() };
    let (mic, narrow) = (pool.account(Some("left"), "mic", None).unwrap(), "narrow");
    pool.set_limits(narrow, &limits).unwrap();
    let slow = pool.account(Some(narrow), "slow", None).unwrap();
    let watch = PoolWatch::new(&pool);
    let mut held: Vec<_> = (0..69).map(|_| mic.take(4096).unwrap()).collect();
    assert!(watch.look_at(&pool, 1, None).is_empty());
    held.extend((0..19).map(|_| slow.take(4096).unwrap()));
    let alerts = watch.look_at(&pool, 2, None);
    // The channel is over 95 % of its own, the pool and its tier over 85 % of theirs.
    let told: Vec<_> = alerts.iter().map(|alert| (alert.text.as_str(), alert.severity)).collect();
    assert_eq!(
        told,
        [
            ("bytes of channel narrow: 77824 of 81920 are in use, which is over 95 %", Severity::Warning),
            ("bytes of the pool: 360448 of 409600 are in use, which is over 85 %", Severity::Notice),
            ("buffers of 4096 bytes: 88 of 100 are in use, which is over 85 %", Severity::Notice),
        ]
    );
    assert!(watch.look_at(&pool, 3, None).is_empty(), "told once");
    held.clear();
    assert!(watch.look_at(&pool, 4, None).is_empty());
    held.extend((0..19).map(|_| slow.take(4096).unwrap()));
    assert_eq!(codes(&watch.look_at(&pool, 5, None)), [Code::USAGE_HIGH]);
}

// REQ R8, REQ M2
#[test]
fn what_lies_ready_in_a_thread_is_not_in_use() {
    let pool = small(100);
    let mic = pool.account(Some("left"), "mic", Some(4 * 4096)).unwrap();
    let watch = PoolWatch::new(&pool);
    drop((0..4).map(|_| mic.take(1).unwrap()).collect::<Vec<_>>());
    assert_eq!(mic.bytes(), 4 * 4096, "it lies ready");
    assert_eq!(watch.look_at(&pool, 1, None), []);
    let _held: Vec<_> = (0..4).map(|_| mic.take(1).unwrap()).collect();
    assert_eq!(codes(&watch.look_at(&pool, 2, None)), [Code::USAGE_HIGH]);
}

// REQ R8, REQ M3
#[test]
fn growth_and_waste_are_told() {
    let pool = small(1000);
    let mic = pool.account(Some("left"), "mic", None).unwrap();
    let watch = PoolWatch::new(&pool);
    let held: Vec<_> = (0..300).map(|_| mic.take(100).unwrap()).collect();
    let told: Vec<_> = (0..5).flat_map(|second| watch.look_at(&pool, second, None)).collect();
    assert_eq!(codes(&told), [Code::MEMORY_WASTED]);
    drop(held);
    let grows = |second: u64| Some((100 << 20) + second * 1000);
    let told: Vec<_> = (5..7200).flat_map(|second| watch.look_at(&pool, second, grows(second))).collect();
    assert_eq!(codes(&told), [Code::MEMORY_GROWS]);
    assert!(told[0].text.contains("3600"), "{told:?}");
}

// REQ R3, REQ R4: what is said of all channels is found to be possible when the pool is made, and is not said of the service.
#[test]
fn what_all_channels_have_is_possible_and_no_limit_of_the_service() {
    let options = |channel: Limits| {
        let tiers = PoolBuilder::default().tiers([Tier { bytes: 4096, slots: 4 }]);
        PoolOptions::default().memory(tiers).channel(channel)
    };
    let refused = |limits| ResourcePool::new(options(limits)).unwrap_err().to_string();
    for (limits, told) in [
        (Limits { reserve: vec![5], ..Limits::default() }, "for itself and 4 at most"),
        (Limits { bytes_reserve: 1 << 20, ..Limits::default() }, "16384 are left that are nobody's"),
        (Limits { reserve: vec![1, 1], ..Limits::default() }, "names 2 tiers in `reserve`: the pool has 1"),
        (Limits { reserve: vec![2], max: vec![1], ..Limits::default() }, "for itself and 1 at most"),
    ] {
        let refused = refused(limits);
        assert!(refused.starts_with("what each channel may have") && refused.contains(told), "{refused}");
    }
    let counted = vec![(THREADS.to_owned(), 0, 1), (FILES.to_owned(), 512, 512)];
    let pool = ResourcePool::new(options(Limits { reserve: vec![2], counted, ..Limits::default() })).unwrap();
    let house = pool.account_of_service(HOUSE, "threads", None).unwrap();
    let threads = house.count(THREADS, 2).unwrap();
    // Two channels have all that is reserved, though the service came first.
    let channels = ["left", "right"].map(|channel| pool.account(Some(channel), "mic", None).unwrap());
    assert!(channels.iter().all(|mic| mic.take_chain(8192).is_ok() && mic.count(THREADS, 2).is_err()));
    drop(threads);
}

// REQ R4, REQ R1
#[test]
fn only_channels_and_components_that_can_be_have_anything() {
    let pool = small(10);
    let allowed = "is no name: 1 to 63 of the characters a-z, 0-9, '_' and '-' are allowed";
    for name in [HOUSE, SHARED, "", "Left", "left/mic"] {
        let (in_it, of_it) = (pool.account(Some(name), "mic", None), pool.account(Some("left"), name, None));
        let told = [in_it.unwrap_err().to_string(), of_it.unwrap_err().to_string()];
        assert!(told[0].starts_with("there is no such channel") && told[0].contains(allowed), "{told:?}");
        assert!(told[1].starts_with("there is no such component") && told[1].contains(allowed), "{told:?}");
        let part = pool.account_of_service(name, "part", None);
        assert_eq!(part.is_ok(), name == HOUSE, "{name:?}");
        assert_eq!(pool.set_limits(name, &Limits::default()).is_ok(), name == SHARED, "{name:?}");
    }
    assert!(pool.usage("left").is_none() && pool.usage("Left").is_none(), "nothing was taken in");
}

// REQ R1, REQ R3
#[test]
fn a_component_has_one_account_and_the_first_is_told_of() {
    let pool = small(10);
    let told = Arc::new(Mutex::<ComponentResource, Vec<String>>::default());
    let hears = told.clone();
    pool.on_admitted(move |channel, component, _| {
        with_root(|house| hears.lock(house).push(format!("{channel}/{component}")));
    });
    let (one, other) = (pool.account(None, "disk", Some(4096)), pool.account(None, "disk", Some(1 << 20)));
    let _held = one.unwrap().take(1).unwrap();
    assert!(other.unwrap().take(1).is_err(), "what was declared first holds");
    pool.account(Some("left"), "disk", None).unwrap();
    assert_eq!(with_root(|house| told.lock(house).clone()), ["(shared)/disk", "left/disk"]);
}
