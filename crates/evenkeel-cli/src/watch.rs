//! What a recorder at work has to say: trouble with its log, faults of its channels.
//! To people, to the journal, and to the service manager.

use crate::systemd::Systemd;
use crate::text;
use evenkeel::Keel;
use evenkeel::threads::Subscription;
use evenkeel_recorder::{ChannelCounts, Recorder};
use serde_json::json;
use std::time::Duration;

/// Events of threads that are told in one look; the rest in the next.
const THREAD_EVENTS_MAX: usize = 20;

/// What was told last, so that only what is new is told.
pub(crate) struct Watch<'a> {
    recorder: &'a Recorder,
    keel: &'a Keel,
    systemd: Option<&'a Systemd>,
    threads: Subscription,
    trouble: Option<String>,
    retention: Option<Result<String, String>>,
    /// By channel.
    faults: Vec<Option<String>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(recorder: &'a Recorder, keel: &'a Keel, systemd: Option<&'a Systemd>) -> Self {
        let faults = vec![None; recorder.channels().len()];
        let threads = keel.threads().subscribe();
        Self { recorder, keel, systemd, threads, trouble: None, retention: None, faults }
    }

    /// Tells what is new, with each channel's counts now, as they may be told. What came and went since the last look is not told.
    pub(crate) fn look(&mut self, channels: &[ChannelCounts]) {
        self.look_at_log();
        self.look_at_threads();
        let retention = self.recorder.retention();
        if retention != self.retention {
            match &retention {
                Some(Ok(done)) => text::say(done),
                Some(Err(trouble)) => text::complain(trouble),
                None => {}
            }
            self.retention = retention;
        }
        for (at, counts) in channels.iter().enumerate() {
            if counts.last_fault == self.faults[at] {
                continue;
            }
            if let Some(fault) = &counts.last_fault {
                text::complain(&format!("{}: {fault}", counts.name));
            }
            self.faults[at].clone_from(&counts.last_fault);
        }
    }

    /// The journal has them already, and with them what a panic said, and where.
    fn look_at_threads(&self) {
        for _ in 0..THREAD_EVENTS_MAX {
            let Some(event) = self.threads.next(Duration::ZERO) else { return };
            let told = format!("thread {}: {}", event.thread.name, event.kind());
            if event.is_fault() { text::complain(&told) } else { text::say(&told) }
        }
    }

    fn look_at_log(&mut self) {
        let trouble = self.recorder.trouble();
        let public = self.recorder.public_trouble();
        if trouble == self.trouble {
            return;
        }
        match public {
            Some(trouble) => text::complain(trouble),
            None => text::say("recording goes on"),
        }
        if let Some(systemd) = self.systemd {
            systemd.status(public.unwrap_or("recording goes on"));
        }
        self.note("trouble", None, json!({ "now": trouble, "before": self.trouble }));
        self.trouble = trouble;
    }

    fn note(&self, kind: &str, channel: Option<&str>, body: serde_json::Value) {
        if let Some(journal) = self.keel.journal() {
            // What it refuses it tells itself.
            let _ = journal.append(kind, channel, body);
        }
    }
}
