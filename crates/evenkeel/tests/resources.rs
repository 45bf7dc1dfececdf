//! The pool of a service: who may take how much, what crosses a boundary, what is released in which order.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::cleanup::{Report, StepReport, Verdict};
use evenkeel::prelude::*;
use evenkeel::resources::{
    FILES, Limits, PoolBuilder, Request, Short, THREADS, Tier, Want, WhenExhausted, count_outside,
};
use evenkeel::{MonitoringCoordinator, PoolOptions};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn keel() -> Keel {
    with(PoolOptions::default())
}

fn with(options: PoolOptions) -> Keel {
    Keel::builder("resources").without_signals().keep_process().pool(options).build().unwrap()
}

fn step<'a>(report: &'a Report, name: &str) -> &'a StepReport {
    let mut steps = report.phases.iter().flat_map(|phase| &phase.steps);
    steps.find(|step| step.name == name).unwrap()
}

fn verdict(report: &Report, name: &str) -> Option<Verdict> {
    step(report, name).verdict
}

fn detail<'a>(report: &'a Report, name: &str) -> &'a str {
    step(report, name).detail.as_deref().unwrap_or_default()
}

// REQ R3
#[test]
fn a_component_may_hold_500_kb_unless_it_declares_more_and_the_refusal_says_so() {
    let keel = keel();
    let left = keel.channel("left").unwrap();
    let mic = left.component("mic").unwrap();
    let account = mic.account().unwrap();
    let seven: Vec<_> = (0..7).map(|_| account.take(64 << 10).unwrap()).collect();
    let refused = account.take(64 << 10).unwrap_err();
    assert!(matches!(refused.short(), Short::Component { held: 458_752, allowed: 500_000 }));
    assert!(refused.to_string().contains("declare a higher limit if it needs more"), "{refused}");
    assert!(account.take(1 << 20).is_err(), "a large buffer is more than that");
    // Another account of its name is the same.
    assert!(left.account("mic").unwrap().take(64 << 10).is_err());
    let large = ComponentOptions::default().bytes_max(2 << 20);
    let file = left.component_with("file", large).unwrap().account().unwrap();
    drop((seven, file.take(1 << 20).unwrap()));
    assert!(keel.stop("enough", "the test").clean);
}

// REQ R3, REQ R1: whoever is limited lowers its limit at most; to raise it is the monitoring's.
#[test]
fn a_limit_is_raised_by_the_monitoring_alone() {
    let keel = keel();
    let mic = keel.channel("left").unwrap().component("mic").unwrap();
    let account = mic.account().unwrap();
    account.lower_bytes_max(u64::MAX);
    assert!(account.take(1 << 20).is_err());
    keel.monitoring().set_component_bytes_max(Some("left"), "mic", 1 << 20).unwrap();
    drop(account.take(1 << 20).unwrap());
    account.lower_bytes_max(4096);
    assert!(account.take(64 << 10).is_err());
    // Of one that has none yet, and one that all channels share.
    keel.monitoring().set_component_bytes_max(None, "disk", 4096).unwrap();
    let options = ComponentOptions::default().bytes_max(1 << 20);
    let disk = keel.components().register_with(None, "disk", options).unwrap();
    assert!(disk.account().unwrap().take(64 << 10).is_err());
    let report = keel.stop("enough", "the test");
    assert!(report.clean, "{report:#?}");
}

// REQ R1, REQ R2
#[test]
fn the_monitoring_creates_the_pool_and_all_others_work_on_that() {
    let tiers = PoolBuilder::default().tiers([Tier { bytes: 4096, slots: 8 }]);
    let keel = with(PoolOptions::default().memory(tiers).component_bytes_max(8192));
    let pool = keel.monitoring().pool();
    assert_eq!(pool.tiers(), [Tier { bytes: 4096, slots: 8 }]);
    let mic = keel.component("mic").unwrap().account().unwrap();
    let held = mic.take_chain(8192).unwrap();
    assert!(mic.take(1).is_err());
    assert_eq!(
        (pool.in_use(), keel.components().in_use(), keel.buffers().pool().in_use()),
        (8192, 8192, 8192)
    );
    drop(held);
    assert!(keel.stop("enough", "the test").clean);
    let default = MonitoringCoordinator::new(PoolOptions::default()).unwrap();
    let default: Vec<_> = default.pool().tiers().iter().map(|tier| (tier.bytes, tier.slots)).collect();
    assert_eq!(default, [(4 << 10, 500), (64 << 10, 250), (1 << 20, 125)]);
    let wrong = PoolOptions::default().memory(PoolBuilder::default().tiers([]));
    let refused = Keel::builder("wrong").without_signals().keep_process().pool(wrong).build().unwrap_err();
    assert_eq!(refused.to_string(), "the resource pool: a pool has 1 to 8 tiers, not 0");
}

// REQ R3, REQ R4
#[test]
fn what_is_reserved_for_a_channel_is_there_whatever_others_take() {
    let tiers = PoolBuilder::default().tiers([Tier { bytes: 4096, slots: 8 }]);
    let keel = with(PoolOptions::default().memory(tiers).component_bytes_max(1 << 20));
    let (left, right) = (keel.channel("left").unwrap(), keel.channel("right").unwrap());
    left.set_resource_limits(&Limits { reserve: vec![3], ..Limits::default() }).unwrap();
    let greedy = right.account("greedy").unwrap();
    let all: Vec<_> = std::iter::from_fn(|| greedy.take(1).ok()).collect();
    assert_eq!(all.len(), 5);
    let own: Vec<_> = (0..3).map(|_| left.account("mic").unwrap().take(1).unwrap()).collect();
    assert_eq!(left.resource_usage().unwrap().tiers[0].own, 3);
    assert!(right.set_resource_limits(&Limits { reserve: vec![6], ..Limits::default() }).is_err());
    drop((all, own));
    assert!(keel.stop("enough", "the test").clean);
}

// REQ I1, REQ R4, REQ E3
#[test]
fn each_coordinator_sees_its_slice_and_what_crosses_a_boundary_is_refused_and_reported() {
    let keel = keel();
    let (left, right) = (keel.channel("left").unwrap(), keel.channel("right").unwrap());
    left.component("mic").unwrap();
    let all: [&dyn ResourceManager; 3] = [keel.monitoring(), keel.components(), &left];
    for manager in all {
        let handle = manager.allocate(Request::bytes("left", "mic", 100_000)).unwrap();
        assert!(handle.capacity() >= 100_000);
        manager.validate_boundaries(&handle).unwrap();
        let held = manager.verify_cleanup().unwrap_err().to_string();
        assert!(held.contains("by left/mic, taken at crates/evenkeel/tests/resources.rs:"), "{held}");
        assert!(
            manager.usage().iter().any(|used| used.component.as_deref() == Some("mic") && used.bytes > 0)
        );
        assert!(manager.limits().iter().any(|of| of.component.is_some() && of.bytes_max == 500_000));
        assert_eq!(manager.metrics().holders[0].channel, "left");
        manager.verify_isolation().unwrap();
        assert!(right.verify_cleanup().is_ok() && right.metrics().holders.is_empty());
        // Another's cannot give it back, and the handle is still good.
        let refused = *right.deallocate(handle).unwrap_err();
        assert_eq!(refused.to_string(), "channel right reached for what is left/mic's: refused");
        manager.deallocate(refused.handle).unwrap();
        manager.verify_cleanup().unwrap();
    }
    assert!(right.allocate(Request::bytes("left", "mic", 1)).is_err());
    // The service's own are nobody's to take from, and what is allowed is said.
    for name in ["(house)", "(shared)", "no channel"] {
        let refused = keel.monitoring().allocate(Request::bytes(name, "mic", 1)).unwrap_err().to_string();
        assert!(refused.contains("there is no such channel") && refused.contains("are allowed"), "{refused}");
        assert!(right.allocate(Request::bytes(name, "mic", 1)).is_err());
    }
    // Of the components' coordinator only what is registered.
    assert!(keel.components().allocate(Request::bytes("left", "stranger", 1)).is_err());
    let other = self::keel();
    let foreign = other.monitoring().allocate(Request::bytes("left", "mic", 1)).unwrap();
    assert!(keel.monitoring().validate_boundaries(&foreign).unwrap_err().of_another_pool);
    let until = Instant::now() + Duration::from_secs(60);
    while right.last_fault().is_none() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(right.last_fault().unwrap().code.to_string(), "EK-0600");
    assert!(left.last_fault().is_none());
    drop(foreign);
    other.stop("enough", "the test");
    keel.stop("enough", "the test");
}

// REQ R4: limits that are lowered below what a channel has break no boundary; it keeps that, and takes no more.
#[test]
fn a_channel_that_keeps_what_it_had_when_its_limits_were_lowered_crosses_no_boundary() {
    let keel = keel();
    let left = keel.channel("left").unwrap();
    let mic = left.account("mic").unwrap();
    let held = (mic.take_chain(3 * 4096).unwrap(), mic.count(FILES, 2).unwrap());
    let counted = vec![(FILES.to_owned(), 0, 1)];
    left.set_resource_limits(&Limits { max: vec![1], counted, ..Limits::default() }).unwrap();
    left.verify_isolation().unwrap();
    keel.monitoring().verify_isolation().unwrap();
    assert!(mic.take(1).is_err() && mic.count(FILES, 1).is_err());
    drop(held);
    assert!(keel.stop("enough", "the test").clean);
}

// REQ R5, REQ R10
#[test]
fn what_is_no_memory_is_counted_in_the_same_books() {
    let keel = with(PoolOptions::default().files_max(3).outside_bytes_max(10_000));
    let left = keel.channel("left").unwrap();
    let file = |when| {
        let request = Request::bytes("left", "file", 0);
        left.allocate({
            let mut request = request;
            (request.want, request.when) = (Want::Units(FILES.to_owned(), 2), when);
            request
        })
    };
    let two = file(WhenExhausted::Fail).unwrap();
    assert_eq!(two.units(), Some((2, "files")));
    assert!(file(WhenExhausted::Fail).unwrap_err().to_string().contains("files"));
    assert!(file(WhenExhausted::Shed).unwrap_err().to_string().contains("goes without"));
    let account = left.account("file").unwrap();
    let outside = count_outside(&account, 8193).unwrap();
    assert_eq!(outside.units(), 3);
    assert!(count_outside(&account, 1).is_err());
    drop((two, outside));

    let threads = |keel: &Keel| {
        let used = keel.monitoring().pool().counted_holders();
        used.iter().filter(|holder| holder.kind == THREADS).map(|holder| holder.units).sum::<u64>()
    };
    let before = threads(&keel);
    assert!(before > 0, "those that there were before the pool");
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let thread = keel.threads().thread("test").start(move |_| gone.recv().is_err()).unwrap();
    assert_eq!(threads(&keel), before + 1);
    drop(go);
    thread.join().unwrap();
    assert!(keel.stop("enough", "the test").clean);
}

// REQ R7, REQ C3
#[test]
fn what_is_held_is_released_in_reverse_order_of_dependency_across_channels() {
    let keel = keel();
    let (left, right) = (keel.channel("left").unwrap(), keel.channel("right").unwrap());
    let disk = keel.component("disk").unwrap();
    let codec = right.component_with("codec", ComponentOptions::default().needs(&disk)).unwrap();
    let mic = left.component_with("mic", ComponentOptions::default().needs(&codec)).unwrap();
    // In whatever order they first take something.
    let held = Arc::new(Mutex::new(Vec::new()));
    for component in [&codec, &disk, &mic] {
        held.lock().unwrap().push(component.account().unwrap().take(4096).unwrap());
    }
    let given = held.clone();
    keel.cleanup("give-back")
        .phase(Phase::ReleasingResources)
        .run_blocking(move |_| given.lock().unwrap().clear())
        .verify_blocking(|_| true)
        .register()
        .unwrap();
    let plan = keel.plan();
    let follows = |step: &str, other: &str| {
        let step = plan.steps().iter().find(|found| found.name == step).unwrap();
        step.dependencies.iter().any(|dependency| dependency.name == other)
    };
    assert!(follows("release/right/codec", "release/left/mic"));
    assert!(follows("release/disk", "release/right/codec"));
    assert!(!follows("release/left/mic", "release/disk"));
    for step in ["release/left/mic", "release/right/codec", "release/disk"] {
        assert!(follows("release-pool", step));
    }
    let report = keel.stop("enough", "the test");
    assert!(report.clean, "{report:#?}");
    assert_eq!(verdict(&report, "release-pool"), Some(Verdict::Verified));
    assert_eq!(keel.monitoring().pool().resident_bytes().unwrap(), 0);
    assert!(mic.account().unwrap().take(1).is_err(), "it takes nothing after its release");
}

// REQ R7, REQ R6
#[test]
fn a_stop_names_who_still_holds_something_and_releases_the_rest() {
    let keel = keel();
    let left = keel.channel("left").unwrap();
    let (leaks, good) = (left.component("leaks").unwrap(), left.component("good").unwrap());
    let leak = leaks.account().unwrap().take(64 << 10).unwrap();
    let site = format!("{}:{}", file!(), line!() - 1);
    drop(good.account().unwrap().take(64 << 10).unwrap());
    let report = keel.stop("enough", "the test");
    assert!(!report.clean);
    assert_eq!(verdict(&report, "release/left/good"), Some(Verdict::Verified));
    assert_eq!(verdict(&report, "release/left/leaks"), Some(Verdict::Failed));
    let told = detail(&report, "release/left/leaks");
    assert!(told.contains("by left/leaks") && told.contains(&site), "{told}");
    assert!(detail(&report, "release-pool").contains(&site));
    drop(leak);
}

// REQ R7
#[test]
fn a_whole_pool_is_released_at_a_stop() {
    let options = PoolOptions::default().component_bytes_max(u64::MAX);
    let keel = with(options);
    let all = keel.channel("left").unwrap().account("all").unwrap();
    let mut held = Vec::new();
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        held.extend(std::iter::from_fn(|| all.take(bytes).ok()).map(|mut buffer| {
            buffer.fill_from(b"used");
            buffer
        }));
    }
    assert_eq!(held.len(), 875);
    drop(held);
    let report = keel.stop("enough", "the test");
    assert!(report.clean, "{report:#?}");
    assert_eq!(keel.monitoring().pool().resident_bytes().unwrap(), 0);
}
