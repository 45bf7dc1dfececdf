//! `evenkeel recover`.

use crate::args::Recover;
use crate::{exit, text};
use evenkeel_log::storage::{DirLock, DirStorage, Storage};
use evenkeel_log::{Action, Recovered, Recovery, recover};
use std::io;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn run(arguments: &Recover) -> u8 {
    let lock = match DirLock::acquire(&arguments.dir) {
        Ok(lock) => lock,
        Err(e) => {
            text::complain(&format!("cannot recover: {e}"));
            return exit::CANNOT;
        }
    };
    let recovered = recover_all(&arguments.dir);
    drop(lock);
    let (recovery, journal) = match recovered {
        Ok(recovered) => recovered,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.display()));
            return exit::CANNOT;
        }
    };
    if arguments.json {
        if text::print_json(&json(&recovery, journal.as_ref())).is_err() {
            return exit::CANNOT;
        }
    } else if recovery.segments.is_empty() && journal.as_ref().is_none_or(|j| j.segments.is_empty()) {
        text::say("nothing to do");
    } else {
        tell(&recovery);
        if let Some(journal) = journal.as_ref().filter(|journal| !journal.segments.is_empty()) {
            text::say("journal:");
            tell(journal);
        }
    }
    if recovery.is_loss() || journal.is_some_and(|journal| journal.is_loss()) {
        exit::NOT_CLEAN
    } else {
        exit::OK
    }
}

/// The recording, and its journal where it has one.
fn recover_all(dir: &Path) -> io::Result<(Recovery, Option<Recovery>)> {
    let now = evenkeel_recorder::now();
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::open(dir)?);
    let recording = recover(&storage, now)?;
    let journal = match crate::journal::storage(dir)? {
        Some(storage) => {
            let storage: Arc<dyn Storage> = Arc::new(storage);
            Some(recover(&storage, now)?)
        }
        None => None,
    };
    Ok((recording, journal))
}

fn json(recovery: &Recovery, journal: Option<&Recovery>) -> serde_json::Value {
    let of = |recovery: &Recovery| serde_json::json!({ "segments": recovery.segments, "loss": recovery.is_loss() });
    let loss = recovery.is_loss() || journal.is_some_and(Recovery::is_loss);
    serde_json::json!({ "version": 1, "segments": recovery.segments, "loss": loss, "journal": journal.map(of) })
}

/// Tells what recovery had to do.
pub(crate) fn tell(recovery: &Recovery) {
    for segment in &recovery.segments {
        text::say(&describe(segment));
        for gap in &segment.gaps {
            text::say(&format!(
                "  gap in {} from record {} on: {}",
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
