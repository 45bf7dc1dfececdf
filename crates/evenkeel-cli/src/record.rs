//! `evenkeel record`.

use crate::args::Record;
use crate::signals::Signals;
use crate::{exit, sys, text};
use evenkeel_recorder::{Config, Ending, Recorder, StartError};
use std::io;
use std::time::{Duration, Instant};

pub(crate) fn run(arguments: &Record) -> u8 {
    let channels = match arguments.channels() {
        Ok(channels) => channels,
        Err(wrong) => {
            text::complain(&wrong);
            return exit::USAGE;
        }
    };
    let mut config = Config::new(arguments.out.clone(), channels);
    if let Some(number) = arguments.acks {
        match sys::adopt(number) {
            Ok(file) => config.acks = Some(file),
            Err(e) => {
                text::complain(&format!("--acks {number}: no open descriptor: {e}"));
                return exit::USAGE;
            }
        }
    }
    match random_id() {
        Ok(id) => config.log.run_id = id,
        Err(e) => return cannot_start(&format!("no random numbers: {e}")),
    }
    let signals = match Signals::register() {
        Ok(signals) => signals,
        Err(e) => return cannot_start(&format!("signals: {e}")),
    };
    let count = config.channels.len();
    match Recorder::start(config) {
        Ok(recorder) => record(&recorder, signals, arguments, count),
        Err(e @ StartError::Lock(_)) => cannot_start(&format!("cannot record: {e}")),
        Err(e) => cannot_start(&format!("cannot start: {e}")),
    }
}

fn cannot_start(why: &str) -> u8 {
    text::complain(why);
    exit::CANNOT
}

fn random_id() -> io::Result<[u8; 16]> {
    use std::io::Read;
    let mut id = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}

fn record(recorder: &Recorder, mut signals: Signals, arguments: &Record, count: usize) -> u8 {
    crate::recover::tell(recorder.recovery());
    let s = if count == 1 { "" } else { "s" };
    text::say(&format!("recording {count} channel{s} into {}", arguments.out.display()));
    let reason = match wait(recorder, &mut signals) {
        Ok(reason) => reason,
        Err(e) => format!("the wait for signals failed: {e}"),
    };
    text::say(&format!("stopping: {reason}"));
    let started = Instant::now();
    watch(signals, arguments.grace);
    let until_ns = evenkeel_recorder::now().mono_ns.saturating_add(arguments.grace.as_nanos() as u64);
    let ending = recorder.stop(until_ns);
    tell(&ending, started.elapsed());
    if ending.clean {
        exit::OK
    } else if evenkeel_recorder::now().mono_ns >= until_ns {
        exit::OUT_OF_TIME
    } else {
        exit::NOT_CLEAN
    }
}

/// Waits for the end of the sources or a signal, telling of trouble on the way.
fn wait(recorder: &Recorder, signals: &mut Signals) -> io::Result<String> {
    let mut told: Option<String> = None;
    loop {
        if let Some(signal) = signals.wait(Some(recorder.ended()), Some(Duration::from_secs(1)))? {
            return Ok(format!("signal {signal}"));
        }
        if recorder.has_ended() {
            return Ok("every source has ended".to_owned());
        }
        let trouble = recorder.trouble();
        if trouble != told {
            match (&trouble, &told) {
                (Some(trouble), _) => text::complain(trouble),
                (None, _) => text::say("recording goes on"),
            }
            told = trouble;
        }
    }
}

/// From the first signal on: a second one forces, and the end of the grace period ends all.
fn watch(mut signals: Signals, grace: Duration) {
    let watcher = move || {
        let forced = signals.wait(None, Some(grace));
        let code = match forced {
            Ok(Some(signal)) => {
                text::say(&format!(
                    "forced by a second signal ({signal}): the end of the recording was abandoned"
                ));
                exit::FORCED
            }
            _ => {
                // The stop has the same limit, and may be about to tell more.
                std::thread::sleep(Duration::from_millis(200));
                text::say("the grace period ran out: the end of the recording was abandoned");
                exit::OUT_OF_TIME
            }
        };
        std::process::exit(i32::from(code));
    };
    if let Err(e) = std::thread::Builder::new().name("ek-watch".to_owned()).spawn(watcher) {
        text::complain(&format!("a second signal will not force: {e}"));
    }
}

fn tell(ending: &Ending, took: Duration) {
    let head = ["channel", "records", "bytes", "stored", "dropped", "gaps"].map(str::to_owned).to_vec();
    let row = |c: &evenkeel_recorder::ChannelCounts| {
        vec![
            c.name.clone(),
            text::count(c.accepted_records),
            text::bytes(c.accepted_bytes),
            text::count(c.committed_records),
            text::count(c.dropped_records),
            text::count(c.gaps),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(ending.channels.iter().map(row)).collect();
    text::say(text::table(&rows).trim_end());
    for fault in &ending.faults {
        text::complain(fault);
    }
    let verdict = if ending.clean { "stopped clean: all sealed and read back" } else { "stopped, not clean" };
    text::say(&format!("{verdict}, in {:.1} ms", took.as_secs_f64() * 1e3));
}
