//! `ek-file-N`: what is read to its end on a thread of its own, because reading it
//! can block and nothing can wait for it.
//!
//! A regular file blocks for as long as its disk takes. Anything else that nothing can
//! wait for (some devices, a reader of an embedder's) can block for ever: what it brought
//! is handed over before it is read again, so that a stop has all of it but what comes later.

use crate::callback::call;
use crate::config::{Framing, OnFull};
use crate::framing::{Framer, Sink, Stream};
use crate::hub::{Hub, Lane, Order, Refused, Trouble};
use evenkeel_hierarchy::with_root;
use evenkeel_log::{PAYLOAD_BYTES_MAX, SourcePosition};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

pub(crate) struct FileReader {
    hub: Arc<Hub>,
    file: Box<dyn Read + Send>,
    lane: Lane,
    framer: Framer,
    /// Whether a read comes back by itself.
    regular: bool,
    /// Whether the next run reads again what is not accepted.
    resumable: bool,
    /// The file once more, where it has to be found out what stands at its position.
    unplaced: Option<File>,
}

/// Goes to where an earlier run left the file, when it is the same and no
/// shorter; answers where it stands, or `None` for what has no place to go to.
///
/// # Errors
/// What the system says.
pub(crate) fn resume(
    file: &mut File,
    committed: Option<&SourcePosition>,
) -> io::Result<Option<SourcePosition>> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(None);
    }
    let same =
        committed.filter(|p| p.device == meta.dev() && p.inode == meta.ino() && p.offset <= meta.len());
    let offset = same.map_or(0, |p| p.offset);
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    Ok(Some(SourcePosition { device: meta.dev(), inode: meta.ino(), offset }))
}

impl FileReader {
    /// A reader of a file, of which a regular one comes back from every read.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn of_file(
        hub: Arc<Hub>,
        file: File,
        lane: Lane,
        (stream, framing): (Stream, Framing),
        position: Option<SourcePosition>,
    ) -> io::Result<Self> {
        let regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let resumable = position.is_some();
        let goes_on = position.as_ref().is_some_and(|position| position.offset > 0);
        let unplaced = (goes_on && framing == Framing::LengthU32be).then(|| file.try_clone()).transpose()?;
        let framer = Framer::new(stream, framing, position);
        Ok(Self { hub, file: Box::new(file), lane, framer, regular, resumable, unplaced })
    }

    /// A reader of whatever an embedder has.
    pub(crate) fn of_reader(
        hub: Arc<Hub>,
        reader: Box<dyn Read + Send>,
        lane: Lane,
        (stream, framing): (Stream, Framing),
    ) -> Self {
        let framer = Framer::new(stream, framing, None);
        Self { hub, file: reader, lane, framer, regular: false, resumable: false, unplaced: None }
    }

    fn sink(hub: &Hub, refused: Refused) -> Sink<'_> {
        Sink { hub, refused }
    }

    /// Reads to the end, or to where it stands when a stop is ordered.
    /// All of it is waiting: for its source, for memory, for a stop.
    pub(crate) fn run(mut self) {
        let channel = self.lane.channel;
        match self.read_all() {
            Ok(true) => self.hub.source_ended(channel, None),
            Ok(false) => {}
            Err(e) => {
                self.hand_over();
                self.hub.source_ended(channel, Some(Trouble::of_source(e.to_string())));
            }
        }
    }

    /// Whether the end of the file was reached.
    fn read_all(&mut self) -> io::Result<bool> {
        if let Some(file) = self.unplaced.take() {
            let hub = &self.hub;
            self.framer.find_place(&file, || hub.order() == Order::Run)?;
        }
        let mut piece = vec![0; PAYLOAD_BYTES_MAX];
        // Who drops has to have read it first, elsewhere.
        let blocks = self.lane.on_full == OnFull::Block;
        let direct = self.regular && blocks && self.framer.is_direct();
        while self.hub.order() == Order::Run {
            match if direct { self.read_direct()? } else { self.read_through(&mut piece)? } {
                Some(0) => return Ok(self.hand_over_end()),
                Some(_) if self.regular => {}
                Some(_) => self.framer.publish(&self.lane, &self.hub),
                None => break,
            }
        }
        self.hand_over();
        Ok(false)
    }

    /// `None` when there is no budget and a stop.
    fn read_direct(&mut self) -> io::Result<Option<usize>> {
        loop {
            let Ok(slot) = self.framer.slot(&self.lane, Self::sink(&self.hub, Refused::Wait)) else {
                if !self.may_wait() {
                    return Ok(None);
                }
                continue;
            };
            match with_root(|house| call(house, || self.file.read(slot))) {
                Ok(0) => return Ok(Some(0)),
                Ok(n) => {
                    self.framer.fill(&mut self.lane, n);
                    return Ok(Some(n));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn read_through(&mut self, piece: &mut [u8]) -> io::Result<Option<usize>> {
        let n = loop {
            match with_root(|house| call(house, || self.file.read(piece))) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if !self.regular {
            // It is handed over at once, however little it is.
            self.framer.expect(n);
        }
        let mut taken = 0;
        while taken < n {
            let sink = Self::sink(&self.hub, Refused::Wait);
            taken += self.framer.take(&mut self.lane, sink, &piece[taken..n]);
            if taken < n && !self.may_wait() {
                if !self.resumable {
                    let sink = Self::sink(&self.hub, Refused::Never);
                    self.framer.take(&mut self.lane, sink, &piece[taken..n]);
                }
                return Ok(None);
            }
        }
        Ok(Some(n))
    }

    /// Waits for budget, but not into a stop: what is not accepted still stands
    /// in the file, and the next run reads it.
    fn may_wait(&self) -> bool {
        self.hub.order() == Order::Run && self.hub.wait_for_budget()
    }

    /// It is read no more. What is carried of a line is read again by the next
    /// run; where it is not, it is a message too.
    fn hand_over(&mut self) {
        if self.resumable {
            self.framer.publish(&self.lane, &self.hub);
        } else {
            let ended = self.framer.end(&mut self.lane, Self::sink(&self.hub, Refused::Never));
            assert!(ended.is_ok(), "invariant: this budget is never refused");
        }
    }

    /// The last line may have no line break; answers whether it was accepted.
    fn hand_over_end(&mut self) -> bool {
        while self.framer.end(&mut self.lane, Self::sink(&self.hub, Refused::Wait)).is_err() {
            if !self.may_wait() {
                self.hand_over();
                return !self.resumable;
            }
        }
        true
    }
}
