//! `evenkeel journal verify`: the journal alone, and against what was kept elsewhere.

use super::opened;
use crate::args::journal::VerifyJournal;
use crate::{exit, text};
use evenkeel::journal::{Checkpoint, DIR_NAME, JournalVerification, verify, verify_against};
use evenkeel_log::Outcome;
use std::io::{self, Read};
use std::path::Path;

/// Longest file of checkpoints, in bytes.
const CHECKPOINTS_BYTES_MAX: u64 = 64 << 20;

pub(super) fn run(arguments: &VerifyJournal) -> u8 {
    let checkpoints = match arguments.against.as_deref().map(kept_elsewhere).transpose() {
        Ok(checkpoints) => checkpoints.unwrap_or_default(),
        Err(why) => {
            text::complain(&why);
            return exit::USAGE;
        }
    };
    let found = opened(&arguments.dir).and_then(|(storage, live)| match &arguments.key {
        Some(key) => verify_against(&storage, live, &checkpoints, key),
        None => verify(&storage, live),
    });
    match found.and_then(|found| tell(arguments, &found).map(|()| found.outcome)) {
        Ok(outcome) => code(outcome),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.join(DIR_NAME).display()));
            exit::CANNOT
        }
    }
}

/// The checkpoints of a file, one after the other; the error says what is wrong with it.
fn kept_elsewhere(file: &Path) -> Result<Vec<Checkpoint>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let mut content = Vec::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(CHECKPOINTS_BYTES_MAX).read_to_end(&mut content));
    read.map_err(|e| wrong(&e))?;
    let checkpoints = serde_json::Deserializer::from_slice(&content).into_iter::<Checkpoint>();
    let checkpoints: Vec<Checkpoint> = checkpoints.collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
    if checkpoints.is_empty() { Err(wrong(&"there is no checkpoint in it")) } else { Ok(checkpoints) }
}

fn tell(arguments: &VerifyJournal, found: &JournalVerification) -> io::Result<()> {
    if arguments.json {
        return text::print_json(found);
    }
    crate::verify::tell_journal(found);
    if let Some(first) = found.anchored_from {
        text::say(&format!("entries before {first} were removed on purpose"));
    }
    if arguments.key.is_some() {
        text::say(&match found.signed_through {
            Some(entry) => format!("the key vouches for all up to entry {entry}"),
            None => "the key vouches for nothing in it".to_owned(),
        });
    }
    text::say(match found.outcome {
        Outcome::Intact => "intact",
        Outcome::Declared => "intact, and not sealed: a program is at work in it, or was killed",
        Outcome::Loss => "NOT INTACT: entries are missing or altered",
        Outcome::Unreadable => "not readable",
    });
    Ok(())
}

fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Intact => exit::OK,
        Outcome::Declared => exit::DECLARED,
        Outcome::Loss => exit::NOT_CLEAN,
        Outcome::Unreadable => exit::CANNOT,
    }
}
