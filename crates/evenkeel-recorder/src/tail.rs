//! `ek-tail-N`: a file as it grows, whatever becomes of its name.
//!
//! ```text
//! path --look--> files: the one that is read, and those that came to stand at the path after it
//!                  read to its end, while the next one is empty; then the next one, from its start
//! ```
//!
//! A thread of its own, because a disk can hang. It waits for inotify, and looks by itself every second: not everything tells
//! (network file systems, the target of a symbolic link).
//!
//! Invariants:
//! 1. What is accepted has its place with it: device, inode, offset. A position is where a message ends, and everything before
//!    it in the files that were read is accepted or dropped.
//! 2. A file is left when the next one has its first byte and this one was read to its end after that: who writes one after the
//!    other has written its last word to it. What it has of a message is then a message of its own.
//! 3. Files that come to stand at the path are opened when they are seen, so that their names may go; [`FILES_MAX`] wait at
//!    most. One that was renamed before a look could see it is gone after, where the directory tells its new name; of one
//!    that was removed or replaced unseen it is told that something may be missing.
//! 4. It has no end of its own. A stop leaves it where it stands, and the next run goes on there.
//!
//! What nobody can see: a file that was truncated and has grown past its old end between two looks; without inotify, or
//! behind a symbolic link, what comes and goes between two looks too.

mod files;
mod watch;

use crate::config::Framing;
use crate::framing::{Framer, Sink, Stream};
use crate::hub::{Hub, Lane, Order, Refused, Trouble};
use evenkeel_log::{PAYLOAD_BYTES_MAX, SourcePosition};
pub(crate) use files::check;
use files::{Tailed, directory, newer_beside, open, open_beside};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use watch::{News, Watch};

/// Files that wait to be read, the one that is read included.
const FILES_MAX: usize = 16;

pub(crate) struct Tail {
    hub: Arc<Hub>,
    path: PathBuf,
    lane: Lane,
    framer: Framer,
    /// Where an earlier run left it.
    committed: Option<SourcePosition>,
    watch: Watch,
    files: VecDeque<Tailed>,
    /// Files that were left since the last look: what is told of them until then is no news.
    left: Vec<Tailed>,
    /// Names of files that stood at the path unseen, and had another name already when they were to be opened.
    sought: Vec<OsString>,
    /// Bytes of the first of them that were read.
    at: u64,
    /// Whether the first of them was seen to be shorter than that.
    cut: bool,
    /// Whether the directory told of a file at the path that no look has seen.
    unseen: bool,
    /// Whether a look saw one that the directory has yet to tell of.
    ahead: bool,
    /// Whether it was said that some may be missing, since the directory was last calm.
    missed: bool,
    /// What was last said of the path, so that it is said once.
    said: Option<String>,
    piece: Vec<u8>,
}

impl Tail {
    pub(crate) fn new(
        hub: Arc<Hub>,
        path: PathBuf,
        lane: Lane,
        (stream, framing): (Stream, Framing),
        committed: Option<SourcePosition>,
    ) -> Self {
        let framer = Framer::new(stream, framing, None);
        let watch = Watch::new(&path);
        Self {
            hub,
            path,
            lane,
            framer,
            committed,
            watch,
            files: VecDeque::new(),
            left: Vec::new(),
            sought: Vec::new(),
            at: 0,
            cut: false,
            unseen: false,
            ahead: false,
            missed: false,
            said: None,
            piece: vec![0; PAYLOAD_BYTES_MAX],
        }
    }

    /// Reads until a stop is ordered. All of it is waiting: for the file, for memory, for a stop.
    pub(crate) fn run(mut self) {
        let followed = self.resume().and_then(|()| self.follow());
        self.framer.publish(&self.lane, &self.hub);
        if let Err(e) = followed {
            self.hub.source_ended(self.lane.channel, Some(Trouble::of_source(e.to_string())));
        }
    }

    fn follow(&mut self) -> io::Result<()> {
        while self.is_wanted() {
            self.look();
            if !self.turn()? {
                self.framer.publish(&self.lane, &self.hub);
                self.watch.wait(self.hub.ordered_fd());
            }
        }
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        self.hub.order() == Order::Run
    }

    fn tell(&self, trouble: Trouble) {
        self.hub.note_fault(self.lane.channel, trouble, false);
    }

    /// Goes to where an earlier run left it.
    fn resume(&mut self) -> io::Result<()> {
        self.look();
        self.ahead = false;
        let Some(committed) = self.committed.take() else { return self.begin(0) };
        let path = self.path.display();
        let is_it = |file: &Tailed| (file.device, file.inode) == (committed.device, committed.inode);
        let offset = match self.files.front() {
            Some(now) if is_it(now) && now.bytes()? >= committed.offset => committed.offset,
            Some(now) if is_it(now) => {
                self.tell(Trouble::notice(format!(
                    "{path} was truncated: what it had beyond byte {} may be missing; it is read from its start",
                    committed.offset
                )));
                0
            }
            _ => match open_beside(&self.path, &committed)? {
                Some(old) => {
                    let missed = newer_beside(&self.path, &old, self.files.front());
                    if !missed.is_empty() {
                        let missed = missed.join(", ");
                        self.tell(Trouble::in_passing(format!(
                            "{path} was replaced more than once while nobody read it: {missed} may be missing"
                        )));
                    }
                    self.watch.add(&old);
                    self.files.push_front(old);
                    committed.offset
                }
                None => {
                    self.tell(Trouble::in_passing(format!(
                        "the file that was read as {path} up to byte {} is not there any more: what came after that \
                         may be missing",
                        committed.offset
                    )));
                    0
                }
            },
        };
        self.begin(offset)
    }

    /// The first of the files is read from this byte on, where a message ends.
    fn begin(&mut self, offset: u64) -> io::Result<()> {
        let Some(file) = self.files.front() else { return Ok(()) };
        (self.at, self.cut) = (offset, false);
        let (device, inode) = (file.device, file.inode);
        self.framer.stand_at(SourcePosition { device, inode, offset });
        let hub = &self.hub;
        self.framer.find_place(&file.file, || hub.order() == Order::Run)?;
        Ok(())
    }

    /// Opens what stands at the path, if that is another file than the last one, and what stood there since the last look.
    fn look(&mut self) {
        self.hear();
        match open(&self.path, self.files.back()) {
            Ok(None) => {
                self.said = None;
                self.unseen &= !self.files.back().is_some_and(|last| last.stands_at(&self.path));
            }
            Ok(Some(_)) if self.files.len() >= FILES_MAX => {
                self.say_once(format!(
                    "{}: {FILES_MAX} files wait to be read; of those that are replaced now, some may be missing",
                    self.path.display()
                ));
            }
            Ok(Some(file)) => {
                self.said = None;
                self.ahead = !std::mem::take(&mut self.unseen);
                self.watch.add(&file);
                self.files.push_back(file);
                if self.files.len() == 1 && self.committed.is_none() {
                    // Its place is its start: there is nothing to find out, and so nothing can fail.
                    let _ = self.begin(0);
                }
            }
            Err(e) => {
                self.unseen = false;
                self.say_once(format!("{}: {e}", self.path.display()));
            }
        }
    }

    /// Takes the directory's word on what came to the path and went again unseen.
    fn hear(&mut self) {
        let (left, sought) = (std::mem::take(&mut self.left), std::mem::take(&mut self.sought));
        let news = self.watch.news(sought.clone());
        if news.is_empty() {
            (self.ahead, self.missed) = (false, false);
        }
        let mut missed = false;
        for (at, news) in news.into_iter().enumerate() {
            let before = sought.get(at);
            let unseen = before.is_some() || std::mem::take(&mut self.unseen);
            missed |= match news {
                News::Came => {
                    self.unseen = !std::mem::take(&mut self.ahead);
                    unseen
                }
                // It may have been seen all the same: then it is known for what it is.
                News::Renamed(Some(name)) if self.go_after(&name, &left) => false,
                // It may have been renamed once more: the next look knows.
                News::Renamed(Some(name)) if unseen && before != Some(&name) => {
                    let is_room = self.sought.len() < FILES_MAX;
                    self.sought.extend(is_room.then_some(name));
                    !is_room
                }
                News::Renamed(_) | News::Removed => unseen,
                News::Missed => true,
            };
        }
        if missed && !std::mem::replace(&mut self.missed, true) {
            self.tell(Trouble::in_passing(format!(
                "{}: files came and went faster than they could be opened; some may be missing",
                self.path.display()
            )));
        }
    }

    /// Has a file read that stood at the path and has this name beside it now; answers whether it is, or was.
    fn go_after(&mut self, name: &OsStr, left: &[Tailed]) -> bool {
        let Ok(Some(file)) = open(&directory(&self.path).join(name), None) else { return false };
        if self.files.iter().chain(left).any(|known| known.is_that(&file)) {
            return true;
        }
        // What stands at the path now came after it, and still grows.
        let is_last_there = self.files.back().is_some_and(|last| last.stands_at(&self.path));
        let place = self.files.len() - usize::from(is_last_there);
        let is_begun = place == 0 && !self.files.is_empty() && self.at > 0;
        if is_begun || self.files.len() >= FILES_MAX {
            return false;
        }
        self.watch.add(&file);
        self.files.insert(place, file);
        if place == 0 && self.committed.is_none() {
            // Its place is its start, as in a look.
            let _ = self.begin(0);
        }
        true
    }

    /// Says what is wrong with the path, unless that was said last.
    fn say_once(&mut self, text: String) {
        if self.said.as_ref() != Some(&text) {
            self.tell(Trouble::in_passing(text.clone()));
            self.said = Some(text);
        }
    }

    /// Reads once; answers whether there may be more to read.
    fn turn(&mut self) -> io::Result<bool> {
        let Some(file) = self.files.front() else { return Ok(false) };
        let bytes = match file.bytes() {
            Err(e) if is_stale(&e) => self.at,
            bytes => bytes?,
        };
        if self.cut || bytes < self.at {
            return self.truncated();
        }
        // Asked before it is read once more.
        let is_left = self.is_left();
        let file = &self.files[0];
        let n = match file.read_at(&mut self.piece, self.at) {
            Ok(n) => n,
            Err(e) if is_stale(&e) => 0,
            Err(e) => return Err(e),
        };
        if n == 0 {
            return if is_left { self.leave() } else { Ok(false) };
        }
        self.framer.expect(usize::try_from(bytes - self.at).unwrap_or(usize::MAX).max(n));
        self.at += n as u64;
        let mut taken = 0;
        while taken < n {
            let sink = Sink { hub: &self.hub, refused: Refused::Wait };
            taken += self.framer.take(&mut self.lane, sink, &self.piece[taken..n]);
            if taken < n && !self.may_wait() {
                // It still stands in the file, and the next run reads it.
                return Ok(true);
            }
        }
        if self.at >= bytes {
            self.framer.publish(&self.lane, &self.hub);
        }
        Ok(true)
    }

    /// Waits for budget, but not into a stop. Meanwhile files come and go, and are truncated.
    fn may_wait(&mut self) -> bool {
        self.look();
        let at = self.at;
        self.cut |= self.files.front().is_some_and(|file| file.bytes().is_ok_and(|bytes| bytes < at));
        self.is_wanted() && self.hub.wait_for_budget()
    }

    /// Whether nobody writes to the first file any more.
    fn is_left(&self) -> bool {
        // Of one that cannot be asked, the first read will say why.
        let begun = |next: &Tailed| next.bytes().map_or(true, |bytes| bytes > 0);
        self.files.len() > 2 || self.files.get(1).is_some_and(begun)
    }

    /// The first file was read to its end, and the next one is begun.
    fn leave(&mut self) -> io::Result<bool> {
        if self.hand_over_rest() {
            if let Some(old) = self.files.pop_front() {
                self.watch.remove(&old);
                self.left.push(old);
            }
            self.begin(0)?;
        }
        Ok(true)
    }

    fn truncated(&mut self) -> io::Result<bool> {
        let at = self.at;
        if self.hand_over_rest() {
            self.tell(Trouble::notice(format!(
                "{} was truncated, having been read up to byte {at}: it is read from its start",
                self.path.display()
            )));
            self.begin(0)?;
        }
        Ok(true)
    }

    /// Makes a message of what is carried; answers whether it could before a stop.
    fn hand_over_rest(&mut self) -> bool {
        loop {
            let sink = Sink { hub: &self.hub, refused: Refused::Wait };
            if self.framer.end(&mut self.lane, sink).is_ok() {
                return true;
            }
            if !self.may_wait() {
                return false;
            }
        }
    }
}

/// Whether another host has removed the file.
fn is_stale(e: &io::Error) -> bool {
    e.raw_os_error() == Some(Errno::STALE.raw_os_error())
}
