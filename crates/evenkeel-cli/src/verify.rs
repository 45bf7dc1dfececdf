//! `evenkeel verify`.

use crate::args::Verify;
use crate::{exit, text};
use evenkeel::journal::{self, JournalVerification};
use evenkeel_log::storage::{DirLock, DirStorage};
use evenkeel_log::{Outcome, Verification, verify};
use std::io;
use std::path::Path;

/// What is checked: the recording, and its journal where it has one.
#[derive(serde::Serialize)]
struct Report {
    #[serde(flatten)]
    recording: Verification,
    journal: Option<JournalVerification>,
}

pub(crate) fn run(arguments: &Verify) -> u8 {
    let found = match check(&arguments.dir) {
        Ok(found) => found,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.display()));
            return exit::CANNOT;
        }
    };
    let of_journal = found.journal.as_ref().map_or(Outcome::Intact, |journal| journal.outcome);
    let outcome = found.recording.outcome.max(of_journal);
    if arguments.json {
        if text::print_json(&found).is_err() {
            return exit::CANNOT;
        }
    } else {
        tell(&found.recording);
        if let Some(journal) = &found.journal {
            tell_journal(journal);
        }
        text::say(verdict(outcome));
    }
    match outcome {
        Outcome::Intact => exit::OK,
        Outcome::Declared => exit::DECLARED,
        Outcome::Loss => exit::NOT_CLEAN,
        Outcome::Unreadable => exit::CANNOT,
    }
}

fn check(dir: &Path) -> io::Result<Report> {
    let storage = DirStorage::open(dir)?;
    let live = DirLock::is_held(dir)?;
    let recording = verify(&storage, live)?;
    let journal = crate::journal::storage(dir)?.map(|storage| journal::verify(&storage, live)).transpose()?;
    Ok(Report { recording, journal })
}

fn tell(found: &Verification) {
    let head = ["segment", "bytes", "commits", "records", "state"].map(str::to_owned).to_vec();
    let segment = |s: &evenkeel_log::SegmentReport| {
        let state = match (s.damage_count, s.sealed, s.tail_bytes) {
            (0, true, _) => "sealed".to_owned(),
            (0, false, 0) => "unsealed".to_owned(),
            (0, false, tail) => format!("unsealed, {} beyond the last commit", text::bytes(tail)),
            (n, _, _) => format!("{n} damaged places"),
        };
        vec![s.name.clone(), text::bytes(s.bytes), text::count(s.commits), text::count(s.records), state]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(found.segments.iter().map(segment)).collect();
    text::say(text::table(&rows).trim_end());
    let head = ["channel", "records", "bytes", "gaps", "missing"].map(str::to_owned).to_vec();
    let channel = |c: &evenkeel_log::ChannelReport| {
        let missing = c.missing.iter().map(|(a, b)| b - a + 1).sum();
        vec![
            c.name.clone(),
            text::count(c.records),
            text::bytes(c.bytes),
            text::count(c.gaps),
            text::count(missing),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(found.channels.iter().map(channel)).collect();
    text::say(text::table(&rows).trim_end());
    for segment in &found.segments {
        for damage in &segment.damage {
            text::say(&format!(
                "{}: bytes {} to {}: {}",
                segment.name, damage.from, damage.to, damage.reason
            ));
        }
    }
    for gap in &found.gaps {
        let last = gap.last_sequence.map_or_else(|| "unknown".to_owned(), |s| s.to_string());
        text::say(&format!("gap in {}: {} to {last}, {:?}", gap.channel, gap.first_sequence, gap.reason));
    }
    for finding in &found.findings {
        text::say(finding);
    }
}

fn tell_journal(found: &JournalVerification) {
    for finding in &found.findings {
        text::say(&format!("journal: {finding}"));
    }
    let chain = if found.findings.is_empty() { "chain whole" } else { "NOT WHOLE" };
    let entries = text::count(found.entries);
    text::say(&format!("journal: {entries} entries, {chain}, head {}", found.head));
}

fn verdict(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Intact => "intact",
        Outcome::Declared => "intact, with declared gaps or an unsealed end",
        Outcome::Loss => "NOT INTACT: acknowledged data are missing or altered",
        Outcome::Unreadable => "not readable",
    }
}
