//! Standard error: whether it is a terminal, how large it is, and whether it is ours now.

use super::canvas::Place;
use crate::table::Size;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use signal_hook::consts::SIGCONT;
use std::io::{IsTerminal, Stderr as Stream, stderr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A terminal of which nothing is known.
const USUAL: Size = Size { width: 80, height: 24 };

/// What a terminal can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    pub(super) has_table: bool,
    pub(super) has_colour: bool,
}

impl Terminal {
    /// The one that standard error is, if it is one.
    pub(super) fn of_stderr() -> Option<Self> {
        stderr().is_terminal().then(|| Self::named(|name| std::env::var(name).ok()))
    }

    fn named(variable: impl Fn(&str) -> Option<String>) -> Self {
        let can_move = variable("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        let no_colour = variable("NO_COLOR").is_some_and(|word| !word.is_empty());
        Self { has_table: can_move, has_colour: can_move && !no_colour }
    }
}

/// What `ek-screen` writes to.
pub(super) trait Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno>;
    /// Waits until something can be written, where a write does not.
    fn wait(&mut self);
    fn place(&mut self) -> Place;
}

pub(super) struct Stderr {
    stream: Stream,
    has_table: bool,
    /// Whether the process was stopped, and goes on: the shell has had the terminal in between.
    went_on: Arc<AtomicBool>,
}

impl Stderr {
    pub(super) fn new(terminal: Option<Terminal>) -> Self {
        let (has_table, went_on) = (terminal.is_some_and(|terminal| terminal.has_table), Arc::default());
        if has_table {
            // Unheard, a table may once be drawn over what the shell has written.
            let _ = signal_hook::flag::register(SIGCONT, Arc::clone(&went_on));
        }
        Self { stream: stderr(), has_table, went_on }
    }

    /// Whether the shell has put others into the foreground. A terminal that is not
    /// the session's has no foreground.
    fn is_in_background(&self) -> bool {
        tcgetpgrp(&self.stream).is_ok_and(|foreground| foreground != getpgrp())
    }
}

impl Output for Stderr {
    /// Past the standard library's lock, which a panicking thread would wait for.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(&self.stream, bytes)
    }

    fn wait(&mut self) {
        let _ = poll(&mut [PollFd::new(&self.stream, PollFlags::OUT)], None);
    }

    fn place(&mut self) -> Place {
        let is_shown = self.has_table && !self.is_in_background();
        let size = || {
            let found = tcgetwinsize(&self.stream).map(|found| (found.ws_col, found.ws_row));
            size(found.unwrap_or_default(), |name| std::env::var(name).ok())
        };
        Place { size: is_shown.then(size), is_strange: self.went_on.swap(false, Ordering::Relaxed) }
    }
}

/// What the terminal says, or the environment, or what is usual.
fn size((width, height): (u16, u16), variable: impl Fn(&str) -> Option<String>) -> Size {
    let known = |found: u16, name: &str, usual: usize| {
        let said = || variable(name).and_then(|word| word.parse::<u16>().ok());
        let found = Some(found).filter(|n| *n > 0).or_else(said).filter(|n| *n > 0);
        found.map_or(usual, usize::from)
    };
    Size { width: known(width, "COLUMNS", USUAL.width), height: known(height, "LINES", USUAL.height) }
}

/// What the disk that a directory is on has free for us.
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(known: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |sought| known.iter().find(|(name, _)| *name == sought).map(|(_, word)| (*word).to_owned())
    }

    // REQ M5
    #[test]
    fn a_dumb_terminal_has_no_table_and_who_wants_no_colour_has_none() {
        for (known, has_table, has_colour) in [
            (&[("TERM", "xterm")][..], true, true),
            (&[("TERM", "xterm"), ("NO_COLOR", "")], true, true),
            (&[("TERM", "xterm"), ("NO_COLOR", "1")], true, false),
            (&[("TERM", "dumb")], false, false),
            (&[("TERM", "")], false, false),
            (&[], false, false),
        ] {
            assert_eq!(Terminal::named(words(known)), Terminal { has_table, has_colour }, "{known:?}");
        }
    }

    // REQ M5
    #[test]
    fn a_terminal_that_does_not_know_its_size_has_the_environments_or_the_usual() {
        let told = [("COLUMNS", "132"), ("LINES", "50")];
        for (found, known, width, height) in [
            ((100, 30), &told[..], 100, 30),
            ((0, 0), &told, 132, 50),
            ((0, 0), &[("COLUMNS", "0"), ("LINES", "many")], 80, 24),
            ((0, 30), &[], 80, 30),
        ] {
            assert_eq!(size(found, words(known)), Size { width, height }, "{found:?} {known:?}");
        }
    }
}
