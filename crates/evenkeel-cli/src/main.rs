//! `evenkeel`: records many channels durably, and stops with proof.
//!
//! What it promises its users stands in the command line's help and the README;
//! this crate only reads words, calls the floors below, and prints.

mod args;
mod config;
mod control;
mod explain;
mod export;
mod journal;
mod plan;
mod record;
mod recover;
mod screen;
mod status;
mod stop;
mod sys;
mod systemd;
mod table;
mod text;
mod verify;
mod watch;
mod words;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Exit codes, as they are documented.
pub(crate) mod exit {
    pub(crate) use evenkeel::cleanup::exit::{
        CANNOT_START as CANNOT, CLEAN as OK, FORCED, NOT_CLEAN, OUT_OF_TIME,
    };

    pub(crate) const USAGE: u8 = 2;
    pub(crate) const DECLARED: u8 = 6;
}

fn main() -> ExitCode {
    let code = match Arguments::parse().command {
        Command::Record(arguments) => record::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Stop(arguments) => stop::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Later(words) => {
            let name = words.first().and_then(|w| w.to_str()).unwrap_or("this command").to_owned();
            text::complain(&args::refuse(&name));
            exit::USAGE
        }
    };
    ExitCode::from(code)
}
