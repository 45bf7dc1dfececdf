//! The words of the command line, checked before anything is touched.

pub(crate) mod journal;

use crate::words;
use clap::{Args, Parser, Subcommand};
use evenkeel_recorder::Durability;
use journal::Journal;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Records many channels durably into standard MCAP files, and stops with proof
/// that nothing accepted was lost.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Record channels until their sources end, or a signal
    Record(Record),
    /// Check every checksum, sequence, commit and gap of a recording
    Verify(Verify),
    /// Seal what a crash left; `record` does the same when it starts
    Recover(Recover),
    /// Print the bytes of a channel
    Export(Export),
    /// Show how a recording would be stopped: order, times, critical path
    Plan(Plan),
    /// Print the entries of a recording's journal, or what it tells as a whole
    Journal(Journal),
    /// Tell how a running recorder does: exit code 0, 3 where nothing runs, 1 where what runs does not answer
    Status(Status),
    /// Stop a running recorder, wait, and exit with its exit code
    Stop(Stop),
    /// Say what the code of a fault means, and what to do about it; without one, list all
    Explain(Explain),
    #[command(external_subcommand)]
    Later(Vec<OsString>),
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The recording directory; created where it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) what: What,
    /// Where the report of the stop goes
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// A descriptor that gets a line `NAME SEQUENCE BYTES` at every commit
    #[arg(long, value_name = "FD")]
    pub(crate) acks: Option<i32>,
}

/// What is recorded, and how it is stopped: the part of the words that `plan` looks at.
/// [`Settings`](crate::config::Settings) makes sense of it.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// A configuration file (TOML, the same words); channels of both are recorded, and flags win
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A channel and its source: stdin, exec:COMMAND, file:PATH, tail:PATH, tcp:ADDR, unix:PATH, udp:ADDR
    #[arg(long = "channel", value_name = "NAME=SOURCE")]
    pub(crate) channels: Vec<String>,
    /// How a channel's bytes become messages: chunk (default), lines, length-u32be; datagram for udp
    #[arg(long = "frame", value_name = "NAME=FRAMING")]
    pub(crate) frames: Vec<String>,
    /// What happens while a channel's queue is full: block (default), drop-newest, drop-oldest
    #[arg(long, value_name = "NAME=POLICY")]
    pub(crate) on_full: Vec<String>,
    /// Memory that a channel may have at most between its source and the disk, such as 8MiB; 68KiB at least
    #[arg(long = "quota", value_name = "NAME=BYTES")]
    pub(crate) quotas: Vec<String>,
    /// What happens when a channel's command fails: never (default), on-failure
    #[arg(long, value_name = "NAME=POLICY")]
    pub(crate) restart: Vec<String>,
    /// When a record counts as safe, in channels that say nothing themselves: memory, process, disk (default)
    #[arg(long, value_name = "LEVEL", value_parser = words::parse_durability)]
    pub(crate) durability: Option<Durability>,
    /// How long a stop may take, such as 20s (default), 500ms, 2m
    #[arg(long, value_name = "DURATION", value_parser = words::measure::parse_grace)]
    pub(crate) grace: Option<Duration>,
    /// Exit with 1, and not with 0, when anything had to be dropped
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) what: What,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json", "mermaid"])]
    pub(crate) format: String,
    #[arg(long, hide = true)]
    pub(crate) out: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) report: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) acks: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// The channel
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: String,
    /// Only this stream (connection or run) of it, counted from 1
    #[arg(long, value_name = "N")]
    pub(crate) stream: Option<u32>,
    /// Only out of this segment file
    #[arg(long, value_name = "FILE")]
    pub(crate) segment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Stop a running recorder in order, wait for the end, and exit with its exit code.
///
/// 3: nothing runs there. 1 also when the recorder dies before it says how it ended, or
/// cannot be asked.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// End it at once, naming what was abandoned: exit code 4
    #[arg(long)]
    pub(crate) force: bool,
    /// Why, for the report and the journal
    #[arg(long, value_name = "TEXT", value_parser = crate::control::check_reason)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, such as EK-1001; 1001 and ek-1001 are the same
    pub(crate) code: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a version that is to come will have.
pub(crate) fn refuse(what: &str) -> String {
    const TO_COME: [&str; 4] = ["channel", "doctor", "completions", "man"];
    if what.starts_with("--") || what.contains(':') || what.contains(' ') || TO_COME.contains(&what) {
        format!("{what}: not in this version")
    } else {
        format!(
            "unknown command {what:?}; record, plan, verify, recover, export, journal, status, stop and explain are there"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
