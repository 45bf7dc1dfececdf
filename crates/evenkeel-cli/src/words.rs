//! The words that the command line and the configuration file share.
//!
//! Each is parsed here and nowhere else, so that both mean the same and are refused
//! alike. A parser answers with the value, or with what was found and what is
//! allowed; where it stood, whoever asked knows.

pub(crate) mod measure;

use evenkeel_recorder::{Durability, Framing, OnFull, Restart, Source, check_name};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub(crate) const NAMES: &str = "1 to 63 of a-z, 0-9, - and _, the first a letter or digit";
pub(crate) const SOURCES: &str =
    "stdin, exec:COMMAND, file:PATH, tail:PATH, tcp:ADDR, unix:PATH and udp:ADDR";
pub(crate) const FRAMINGS: &str = "chunk, lines, length-u32be and datagram";
pub(crate) const DURABILITIES: &str = "memory, process and disk";
pub(crate) const ON_FULLS: &str = "block, drop-newest and drop-oldest";
pub(crate) const RESTARTS: &str = "never and on-failure";
const ADDRESSES: &str = "IP:PORT, [IPv6]:PORT and localhost:PORT";

/// What is said where a path is needed.
pub(crate) const FILES: &str = "the path of a file";

/// How a word is refused that is none of a kind's.
fn none_of(word: &str, kind: &str, allowed: &str) -> String {
    format!("{word:?} is no {kind}; {allowed} are allowed")
}

/// The name of a channel.
pub(crate) fn parse_name(word: &str) -> Result<String, String> {
    check_name(word).map_err(|e| e.to_string())?;
    Ok(word.to_owned())
}

/// A file.
pub(crate) fn parse_file(word: &str) -> Result<PathBuf, String> {
    if word.contains('\0') {
        return Err(format!("{word:?} has a NUL, which no path is allowed to have"));
    }
    parse_path(word, word)
}

/// A source. A relative path stays as it is given, and so is relative to the working
/// directory of the program, in a file too: what a word means does not depend on
/// where it stands.
pub(crate) fn parse_source(word: &str) -> Result<Source, String> {
    // The system could not be given it, or would be given only what is before it.
    if word.contains('\0') {
        return Err(format!("{word:?} has a NUL, which no source is allowed to have"));
    }
    match word.split_once(':') {
        None if word == "stdin" => Ok(Source::Stdin),
        Some(("exec", command)) if command.trim().is_empty() => Err(needed(word, "a command")),
        Some(("exec", command)) => Ok(Source::Exec(command.to_owned())),
        Some(("file", path)) => parse_path(word, path).map(Source::File),
        Some(("tail", path)) => parse_path(word, path).map(Source::Tail),
        Some(("unix", path)) => parse_path(word, path).map(Source::Unix),
        Some(("tcp", address)) => parse_address(address).map(Source::Tcp),
        Some(("udp", address)) => parse_address(address).map(Source::Udp),
        _ => Err(none_of(word, "source", SOURCES)),
    }
}

fn parse_path(word: &str, path: &str) -> Result<PathBuf, String> {
    if path.is_empty() { Err(needed(word, "a path")) } else { Ok(path.into()) }
}

fn needed(word: &str, what: &str) -> String {
    format!("{what} is needed after {word:?}")
}

/// Names are not looked up: what is listened on does not depend on who answers.
/// `localhost` is 127.0.0.1.
fn parse_address(word: &str) -> Result<SocketAddr, String> {
    let refused = || format!("{} (names are not looked up)", none_of(word, "address", ADDRESSES));
    match word.strip_prefix("localhost:") {
        Some(port) => {
            let is_number = port.bytes().all(|c| c.is_ascii_digit());
            let port = port.parse().ok().filter(|_| is_number).ok_or_else(refused)?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        }
        None => word.parse().map_err(|_| refused()),
    }
}

/// How a channel's bytes become messages.
pub(crate) fn parse_framing(word: &str) -> Result<Framing, String> {
    match word {
        "chunk" => Ok(Framing::Chunk),
        "lines" => Ok(Framing::Lines),
        "datagram" => Ok(Framing::Datagram),
        "length-u32be" => Ok(Framing::LengthU32be),
        _ => Err(none_of(word, "framing", FRAMINGS)),
    }
}

/// When a record counts as safe.
pub(crate) fn parse_durability(word: &str) -> Result<Durability, String> {
    match word {
        "memory" => Ok(Durability::Memory),
        "process" => Ok(Durability::Process),
        "disk" => Ok(Durability::Disk),
        _ => Err(none_of(word, "durability", DURABILITIES)),
    }
}

/// What happens while a channel's queue is full.
pub(crate) fn parse_on_full(word: &str) -> Result<OnFull, String> {
    match word {
        "block" => Ok(OnFull::Block),
        "drop-newest" => Ok(OnFull::DropNewest),
        "drop-oldest" => Ok(OnFull::DropOldest),
        _ => Err(none_of(word, "policy", ON_FULLS)),
    }
}

/// What happens when a channel's command fails.
pub(crate) fn parse_restart(word: &str) -> Result<Restart, String> {
    match word {
        "never" => Ok(Restart::Never),
        "on-failure" => Ok(Restart::OnFailure),
        _ => Err(none_of(word, "policy", RESTARTS)),
    }
}

#[cfg(test)]
mod tests;
