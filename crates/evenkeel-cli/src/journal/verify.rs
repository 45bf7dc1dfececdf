//! `evenkeel journal verify`: the journal alone, and against what was kept elsewhere.

use super::opened;
use crate::args::journal::VerifyJournal;
use crate::{exit, text};
use evenkeel::journal::{DIR_NAME, JournalVerification, verify};
use evenkeel_log::Outcome;
use std::io;

pub(super) fn run(arguments: &VerifyJournal) -> u8 {
    if arguments.against.is_some() || arguments.key.is_some() {
        text::complain("--against: not in this version");
        return exit::USAGE;
    }
    let found = opened(&arguments.dir).and_then(|(storage, live)| verify(&storage, live));
    match found.and_then(|found| tell(arguments, &found).map(|()| found.outcome)) {
        Ok(outcome) => code(outcome),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.join(DIR_NAME).display()));
            exit::CANNOT
        }
    }
}

fn tell(arguments: &VerifyJournal, found: &JournalVerification) -> io::Result<()> {
    if arguments.json {
        return text::print_json(found);
    }
    crate::verify::tell_journal(found);
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
