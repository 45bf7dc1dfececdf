//! `evenkeel recover`.

use crate::args::Recover;
use crate::{exit, text};
use evenkeel_log::storage::{DirLock, DirStorage, Storage};
use evenkeel_log::{Action, Recovered, Recovery, recover};
use std::sync::Arc;

pub(crate) fn run(arguments: &Recover) -> u8 {
    let lock = match DirLock::acquire(&arguments.dir) {
        Ok(lock) => lock,
        Err(e) => {
            text::complain(&format!("cannot recover: {e}"));
            return exit::CANNOT;
        }
    };
    let recovered = DirStorage::open(&arguments.dir).and_then(|storage| {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        recover(&storage, evenkeel_recorder::now())
    });
    drop(lock);
    let recovery = match recovered {
        Ok(recovery) => recovery,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.display()));
            return exit::CANNOT;
        }
    };
    if arguments.json {
        if text::print_json(&json(&recovery)).is_err() {
            return exit::CANNOT;
        }
    } else if recovery.segments.is_empty() {
        text::say("nothing to do");
    } else {
        tell(&recovery);
    }
    if recovery.is_loss() { exit::NOT_CLEAN } else { exit::OK }
}

fn json(recovery: &Recovery) -> serde_json::Value {
    serde_json::json!({ "version": 1, "segments": recovery.segments, "loss": recovery.is_loss() })
}

/// Tells what recovery had to do.
pub(crate) fn tell(recovery: &Recovery) {
    for segment in &recovery.segments {
        text::say(&describe(segment));
        for gap in &segment.gaps {
            text::say(&format!(
                "  gap in {} from record {} on: {:?}",
                gap.channel, gap.first_sequence, gap.reason
            ));
        }
        for loss in &segment.losses {
            text::complain(&format!("  bytes {} to {} are damaged: {}", loss.from, loss.to, loss.reason));
        }
    }
}

fn describe(segment: &Recovered) -> String {
    let Recovered { segment: number, action, tail_bytes, .. } = segment;
    let tail = text::bytes(*tail_bytes);
    match action {
        Action::Sealed if *tail_bytes == 0 => format!("sealed {number:06}.mcap"),
        Action::Sealed => {
            format!("sealed {number:06}.mcap; {tail} beyond its last commit are in {number:06}.tail")
        }
        Action::SetAside => {
            format!("{number:06}: nothing was committed in it; {tail} are in {number:06}.tail")
        }
        Action::Rebuilt => {
            format!("wrote {number:06}.mcap anew from what is whole; the original is {number:06}.damaged")
        }
        _ => format!("{number:06}: {action:?}"),
    }
}
