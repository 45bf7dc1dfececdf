//! The words of the command line, checked before anything is touched.

use clap::{Args, Parser, Subcommand};
use evenkeel_recorder::{ChannelConfig, Framing, Source, check_name};
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
    /// Print the entries of a recording's journal
    Journal(Journal),
    /// Tell how a running recorder does: exit code 0, 3 where nothing runs, 1 where what runs does not answer
    Status(Status),
    /// Stop a running recorder, wait, and exit with its exit code
    Stop(Stop),
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
#[derive(Debug, Args)]
pub(crate) struct What {
    /// A channel and its source: stdin, file:PATH
    #[arg(long = "channel", value_name = "NAME=SOURCE")]
    pub(crate) channels: Vec<String>,
    /// How a channel's bytes become messages: chunk (default), lines
    #[arg(long = "frame", value_name = "NAME=FRAMING")]
    pub(crate) frames: Vec<String>,
    /// When a record counts as safe: disk (default)
    #[arg(long, value_name = "LEVEL")]
    pub(crate) durability: Option<String>,
    /// How long a stop may take, such as 20s, 500ms, 2m
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub(crate) grace: Duration,
    #[arg(long, hide = true)]
    pub(crate) config: Option<PathBuf>,
    #[arg(long, hide = true)]
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
pub(crate) struct Journal {
    /// The recording directory
    pub(crate) dir: PathBuf,
    /// Print each entry as it stands in the journal, one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Only entries since then: RFC 3339, such as 2026-11-21T09:30:00Z, or so long ago, such as 10m
    #[arg(long, value_name = "T", value_parser = crate::journal::since)]
    pub(crate) since: Option<std::time::SystemTime>,
    /// Only entries about this channel
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// Only entries of this kind, such as step-intent
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
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

/// What a version that is to come will have.
pub(crate) fn refuse(what: &str) -> String {
    const TO_COME: [&str; 4] = ["channel", "doctor", "completions", "man"];
    if what.starts_with("--") || what.contains(':') || what.contains(' ') || TO_COME.contains(&what) {
        format!("{what}: not in this version")
    } else {
        format!(
            "unknown command {what:?}; record, plan, verify, recover, export, journal, status and stop are there"
        )
    }
}

impl What {
    /// The channels, or what is wrong with the words.
    pub(crate) fn channels(&self) -> Result<Vec<ChannelConfig>, String> {
        self.refuse_what_is_to_come()?;
        let mut channels: Vec<ChannelConfig> = Vec::new();
        for word in &self.channels {
            let (name, source) =
                word.split_once('=').ok_or_else(|| format!("--channel {word}: NAME=SOURCE is needed"))?;
            check_name(name).map_err(|e| format!("--channel {word}: {e}"))?;
            if channels.iter().any(|c| c.name == name) {
                return Err(format!("--channel {word}: there is a channel {name} already"));
            }
            let source = parse_source(source).map_err(|e| format!("--channel {word}: {e}"))?;
            if source == Source::Stdin && channels.iter().any(|c| c.source == Source::Stdin) {
                return Err(format!("--channel {word}: stdin is the source of another channel already"));
            }
            channels.push(ChannelConfig::new(name, source));
        }
        if channels.is_empty() {
            return Err("at least one --channel NAME=SOURCE is needed".to_owned());
        }
        self.set_framings(&mut channels)?;
        Ok(channels)
    }

    fn refuse_what_is_to_come(&self) -> Result<(), String> {
        let given = [(self.config.is_some(), "--config"), (self.strict, "--strict")];
        if let Some((_, flag)) = given.iter().find(|(given, _)| *given) {
            return Err(refuse(flag));
        }
        match self.durability.as_deref() {
            None | Some("disk") => Ok(()),
            Some(level @ ("memory" | "process")) => Err(refuse(&format!("--durability {level}"))),
            Some(other) => Err(format!("--durability {other}: memory, process and disk are allowed")),
        }
    }

    fn set_framings(&self, channels: &mut [ChannelConfig]) -> Result<(), String> {
        let mut framed: Vec<&str> = Vec::new();
        for word in &self.frames {
            let (name, framing) =
                word.split_once('=').ok_or_else(|| format!("--frame {word}: NAME=FRAMING is needed"))?;
            let channel = channels
                .iter_mut()
                .find(|c| c.name == name)
                .ok_or_else(|| format!("--frame {word}: there is no channel {name}"))?;
            if framed.contains(&name) {
                return Err(format!("--frame {word}: {name} has a framing already"));
            }
            framed.push(name);
            channel.framing = parse_framing(framing).map_err(|e| format!("--frame {word}: {e}"))?;
        }
        Ok(())
    }
}

fn parse_source(word: &str) -> Result<Source, String> {
    if word == "stdin" {
        return Ok(Source::Stdin);
    }
    match word.split_once(':') {
        Some(("file", "")) => Err("a path is needed after file:".to_owned()),
        Some(("file", path)) => Ok(Source::File(path.into())),
        Some((kind @ ("exec" | "tail" | "tcp" | "unix" | "udp"), _)) => Err(refuse(&format!("{kind}:"))),
        _ => Err(format!(
            "{word:?} is no source: stdin, exec:COMMAND, file:PATH, tail:PATH, tcp:ADDR, unix:PATH and udp:ADDR are allowed"
        )),
    }
}

fn parse_framing(word: &str) -> Result<Framing, String> {
    match word {
        "chunk" => Ok(Framing::Chunk),
        "lines" => Ok(Framing::Lines),
        "length-u32be" | "datagram" => Err(refuse(&format!("framing {word}"))),
        _ => Err(format!("{word:?} is no framing: chunk, lines, length-u32be and datagram are allowed")),
    }
}

/// A duration: a number and `ms`, `s`, `m` or `h`.
fn duration(word: &str) -> Result<Duration, String> {
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a number and a unit are needed: ms, s, m or h".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|e| e.to_string())?;
    if duration.is_zero() || duration > Duration::from_secs(86_400) {
        return Err("more than nothing and at most 24h is allowed".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    // REQ C5
    #[test]
    fn durations_have_units() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "20", "s", "-1s", "0s", "1d", "1e3s", "99h", "1..2s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
