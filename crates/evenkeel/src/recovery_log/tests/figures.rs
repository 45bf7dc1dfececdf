//! Figures of stories that can be reckoned by hand.

use super::*;

// REQ M4
#[test]
fn figures_are_those_of_the_story() {
    let mut story = Story::default();
    let step = |name: &str, run_ms: f64, verdict: &str| json!({ "name": name, "channel": null, "verdict": verdict, "run_ms": run_ms, "verify_ms": 0.5 });
    for run in 0..3u32 {
        let dawn = f64::from(run) * 10_000.0;
        story.at(dawn).say("start", "-", json!({ "name": "recorder" }));
        story.at(dawn + 100.0).fault("left/mic", 1, "EK-0800", "error");
        story.at(dawn + 101.0 + f64::from(run)).state("left/mic", "Initialising", "Running");
        story.at(dawn + 110.0).state("left/mic", "Running", "Degraded");
        story.say("recovery", "right", json!({ "step": "flush", "state": "done", "ms": f64::from(run) }));
        story.at(dawn + 1200.0);
        if run < 2 {
            let steps = [step("flush/left", f64::from(run) * 10.0, "Verified"), step("seal", 1.0, "Failed")];
            let report =
                json!({ "clean": run == 0, "exit_code": run, "phases": [{ "phase": "x", "steps": steps }] });
            story.say("report", "-", report);
        } else {
            story.say("journal-gap", "-", json!({ "refused": 12 }));
        }
    }
    story.at(40_000.0).say("start", "-", json!({}));
    let (incidents, statistics) = story.told();
    assert_eq!(incidents.len(), 3);
    // Three runs of 20 minutes, and one that has only begun.
    assert_eq!(statistics.run_time_s, 3600.0);
    let ends: Vec<_> = statistics.runs.iter().map(|run| (run.end, run.exit_code, run.faults)).collect();
    let expected = [
        (RunEnd::Clean, Some(0), 1),
        (RunEnd::Unclean, Some(1), 1),
        (RunEnd::Crashed, None, 1),
        (RunEnd::Open, None, 0),
    ];
    assert_eq!(ends, expected);
    let all = &statistics.repair[0];
    assert_eq!((all.incidents, all.repaired, all.mtbf_s, all.per_hour), (3, 3, 1200.0, 3.0));
    // 1 s, 2 s, 3 s.
    let times = &all.time_to_repair_ms;
    assert_eq!((times.mean, times.median, times.p95, times.max), (2000.0, 2000.0, 3000.0, 3000.0));
    let code = &statistics.by_code[0];
    assert_eq!((code.code.to_string().as_str(), code.count, code.per_hour), ("EK-0800", 3, 3.0));
    let flush = statistics.steps.iter().find(|step| step.name == "flush/left").unwrap();
    assert_eq!((flush.count, flush.failed, flush.run_ms.max, flush.verify_ms.max), (2, 0, 10.0, 0.5));
    assert_eq!(statistics.steps.iter().map(|s| (s.name.as_str(), s.failed)).next_back(), Some(("seal", 2)));
    assert_eq!((statistics.recovery[0].name.as_str(), statistics.recovery[0].run_ms.mean), ("flush", 1.0));
    assert_eq!((statistics.growth.gaps, statistics.growth.refused), (1, 12));
    let machine = &statistics.machines[0];
    assert_eq!((machine.name.as_str(), machine.changes), ("left/mic component", 6));
    let edge = &machine.edges[1];
    // From 101, 102, 103 to 110.
    assert_eq!((edge.from.as_str(), edge.count, edge.mean_dwell_ms), ("Running", 3, Some(8000.0)));
    assert_eq!((machine.edges[0].from.as_str(), machine.edges[0].mean_dwell_ms), ("Initialising", None));
    assert_eq!(machine.sequences[0].name, "Initialising -> Running -> Degraded");
    assert_eq!(machine.sequences[0].count, 3);
}

// REQ M4
#[test]
fn an_empty_journal_has_figures_too() {
    let (incidents, statistics) = Story::default().told();
    assert_eq!((incidents.len(), statistics.growth.entries, statistics.run_time_s), (0, 0, 0.0));
    assert!(serde_json::to_string(&statistics).is_ok());
}
