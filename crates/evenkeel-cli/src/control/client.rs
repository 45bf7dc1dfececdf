//! Asking a running recorder.

use super::place::Place;
use super::protocol::{Refusal, Request, VERSION, line};
use super::{SOCKET, tame, timespec};
use crate::{exit, text};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a recorder may take to answer at all.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a recorder that has too many clients is asked again: longer than silent ones stay.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
/// How soon.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of an answer: a status of very many channels.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a recorder that has told its end may take to go.
const GONE_PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody could be asked.
#[derive(Debug)]
pub(crate) enum Unreachable {
    /// Nothing runs there.
    Nothing(String),
    /// Something does, or may.
    Cannot(String),
}

impl Unreachable {
    /// Tells it, and answers with the exit code.
    pub(crate) fn tell(&self) -> u8 {
        let (why, code) = match self {
            Self::Nothing(why) => (why, exit::CANNOT),
            Self::Cannot(why) => (why, exit::NOT_CLEAN),
        };
        text::complain(why);
        code
    }
}

/// Why there is no further answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The recorder is gone.
    Gone,
    /// It is silent.
    Silent,
    /// What it says cannot be understood.
    Wrong(String),
}

/// A recorder that has answered, and may have more to say.
pub(crate) struct Answer<T> {
    /// What it answered.
    pub(crate) first: T,
    talk: Talk,
}

/// Asks the recorder of a directory, and waits for its first answer.
///
/// # Errors
/// [`Unreachable`], in words that name the directory.
pub(crate) fn ask<T: DeserializeOwned>(dir: &Path, request: &Request) -> Result<Answer<T>, Unreachable> {
    let until = Instant::now() + BUSY_PATIENCE;
    loop {
        let why = match try_to_ask(dir, request)? {
            Asked::Answered(answer) => return Ok(answer),
            Asked::Again(why) => why,
        };
        if Instant::now() >= until {
            return Err(Unreachable::Cannot(format!("{}: {}", dir.display(), tame(&why))));
        }
        std::thread::sleep(BUSY_PAUSE);
    }
}

enum Asked<T> {
    Answered(Answer<T>),
    /// Not now, and why.
    Again(String),
}

fn try_to_ask<T: DeserializeOwned>(dir: &Path, request: &Request) -> Result<Asked<T>, Unreachable> {
    let cannot = |why: &str| Unreachable::Cannot(format!("{}: {}", dir.display(), tame(why)));
    let mut talk = match connect(dir)? {
        Some(stream) => Talk::new(stream),
        None => return Ok(Asked::Again("the recorder does not answer".to_owned())),
    };
    // Who does not listen may have said why already.
    let _ = talk.stream.write_all(&line(request));
    let answer = match talk.object(Instant::now() + ANSWER_PATIENCE) {
        Ok(answer) => answer,
        // It came to its end just now: another look tells.
        Err(Lost::Gone) => return Ok(Asked::Again("the recorder hung up".to_owned())),
        Err(Lost::Silent) => return Err(cannot("the recorder does not answer")),
        Err(Lost::Wrong(why)) => return Err(cannot(&why)),
    };
    if answer.get("error").is_some() {
        let refusal: Refusal = understand(answer).map_err(|why| cannot(&why))?;
        return if refusal.busy { Ok(Asked::Again(refusal.error)) } else { Err(cannot(&refusal.error)) };
    }
    let first = understand(answer).map_err(|why| cannot(&why))?;
    Ok(Asked::Answered(Answer { first, talk }))
}

/// A connection; `None` when too many wait for one already.
fn connect(dir: &Path) -> Result<Option<UnixStream>, Unreachable> {
    let nothing = |why: &str| Unreachable::Nothing(format!("nothing runs in {}{why}", dir.display()));
    let place = match Place::open(dir) {
        Ok(place) => place,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(nothing(&format!(": {e}")));
        }
        Err(e) => return Err(Unreachable::Cannot(format!("{}: {e}", dir.display()))),
    };
    match place.connect() {
        Ok(stream) => Ok(Some(stream)),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Err(place.holder().map_or_else(
                || nothing(""),
                |pid| {
                    Unreachable::Cannot(format!(
                        "{} is in use by process {pid}, which has no control socket: it has not begun to record \
                         yet, is about to end, or could not make one",
                        dir.display()
                    ))
                },
            ))
        }
        Err(e) => Err(Unreachable::Cannot(format!("{}: {e}", dir.join(SOCKET).display()))),
    }
}

fn understand<T: DeserializeOwned>(answer: Value) -> Result<T, String> {
    serde_json::from_value(answer).map_err(|e| format!("the recorder's answer is not understood: {e}"))
}

impl<T> Answer<T> {
    /// The next answer, for which it may take so long.
    pub(crate) fn next<U: DeserializeOwned>(&mut self, patience: Duration) -> Result<U, Lost> {
        let answer = self.talk.object(Instant::now() + patience)?;
        understand(answer).map_err(Lost::Wrong)
    }

    /// Waits until the recorder's process is gone, and with it its hold of the directory;
    /// five seconds at most.
    pub(crate) fn wait_gone(mut self) {
        let until = Instant::now() + GONE_PATIENCE;
        if let Some(process) = &self.talk.process {
            readable(process, until);
        } else {
            // It is in another world of processes; its connections end with it all the same.
            self.talk.drain(until);
        }
    }
}

/// A connection to a recorder.
struct Talk {
    stream: UnixStream,
    /// The recorder's process, where it can be known.
    process: Option<OwnedFd>,
    incoming: Vec<u8>,
}

impl Talk {
    fn new(stream: UnixStream) -> Self {
        let process =
            socket_peercred(&stream).and_then(|server| pidfd_open(server.pid, PidfdFlags::empty())).ok();
        Self { stream, process, incoming: Vec::new() }
    }

    /// The next object, which must be of this version; without it.
    fn object(&mut self, until: Instant) -> Result<Value, Lost> {
        let line = self.line(until)?;
        let mut object: Map<String, Value> = serde_json::from_slice(&line)
            .map_err(|e| Lost::Wrong(format!("the recorder's answer is no JSON object: {e}")))?;
        match object.remove("version") {
            Some(version) if version.as_u64() == Some(VERSION) => Ok(Value::Object(object)),
            version => Err(Lost::Wrong(format!(
                "the recorder speaks version {} of the control protocol, and this program version {VERSION}",
                version.unwrap_or_default()
            ))),
        }
    }

    /// Hears what is said to its end.
    fn drain(&mut self, until: Instant) {
        while self.piece(until).is_ok() {
            self.incoming.clear();
        }
    }

    fn line(&mut self, until: Instant) -> Result<Vec<u8>, Lost> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.incoming[looked_at..].iter().position(|byte| *byte == b'\n') {
                return Ok(self.incoming.drain(..=looked_at + end).collect());
            }
            looked_at = self.incoming.len();
            if looked_at > ANSWER_BYTES_MAX {
                return Err(Lost::Wrong("the recorder's answer has no end".to_owned()));
            }
            self.piece(until)?;
        }
    }

    /// Waits for the next bytes.
    fn piece(&mut self, until: Instant) -> Result<(), Lost> {
        if !readable(&self.stream, until) {
            return Err(Lost::Silent);
        }
        let mut bytes = vec![0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(Lost::Gone),
            Ok(n) => self.incoming.extend_from_slice(&bytes[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(Lost::Gone),
        }
        Ok(())
    }
}

/// Waits until there is something to read, or its end; `false` when the time is over first.
fn readable(fd: &impl AsFd, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // Whatever is wrong, the read says it.
            _ => return true,
        }
    }
}
