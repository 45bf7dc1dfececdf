//! What the commands of one channel write to standard error, as lines for the journal.
//!
//! A line is what precedes a line break; one of more than 4 KiB goes on in the next
//! (cut where a character ends), and so does nothing else. What is no UTF-8 is
//! replaced. A channel has a burst of lines and of bytes, and a rate at which it
//! gets them back; what is beyond is counted and left out, and the count is told
//! once a second at most. Everything is read whatever becomes of it: nobody is
//! ever held up by what they complain of.

use std::collections::VecDeque;

/// Bytes of a line; a longer one goes on in the next.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// Lines a second, and at once.
const LINES_PER_SECOND: u64 = 100;
pub(super) const LINES_BURST: u64 = 1000;
/// Bytes a second, and at once.
const BYTES_PER_SECOND: u64 = 64 << 10;
pub(super) const BYTES_BURST: u64 = 256 << 10;
/// How often it is told what was left out, in nanoseconds.
const TELL_NS: u64 = 1_000_000_000;

/// A line on its way to the journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// The next line is the rest of it.
    pub(super) goes_on: bool,
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// So many units a second, and a burst of them: a token bucket that counts in time.
#[derive(Debug)]
struct Credit {
    unit_ns: u64,
    most_ns: u64,
    have_ns: u64,
    at_ns: u64,
}

impl Credit {
    fn new(per_second: u64, burst: u64, now_ns: u64) -> Self {
        let unit_ns = 1_000_000_000 / per_second;
        let most_ns = unit_ns * burst;
        Self { unit_ns, most_ns, have_ns: most_ns, at_ns: now_ns }
    }

    fn refill(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.at_ns);
        self.have_ns = self.have_ns.saturating_add(passed_ns).min(self.most_ns);
        self.at_ns = self.at_ns.max(now_ns);
    }

    fn has(&self, units: u64) -> bool {
        self.have_ns >= units * self.unit_ns
    }

    fn take(&mut self, units: u64) {
        self.have_ns -= units * self.unit_ns;
    }
}

/// The standard error of one channel.
#[derive(Debug)]
pub(super) struct Stderr {
    /// The beginning of a line.
    carried: Vec<u8>,
    lines: Credit,
    bytes: Credit,
    /// Not in the journal yet.
    waiting: VecDeque<Line>,
    waiting_bytes: usize,
    skipped: Skipped,
    /// When the first of it was left out.
    skipped_ns: u64,
}

impl Stderr {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            carried: Vec::new(),
            lines: Credit::new(LINES_PER_SECOND, LINES_BURST, now_ns),
            bytes: Credit::new(BYTES_PER_SECOND, BYTES_BURST, now_ns),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            skipped: Skipped::default(),
            skipped_ns: 0,
        }
    }

    /// Takes what was read.
    pub(super) fn push(&mut self, mut bytes: &[u8], now_ns: u64) {
        self.lines.refill(now_ns);
        self.bytes.refill(now_ns);
        while !bytes.is_empty() {
            // A byte more than fits tells whether the line goes on.
            let room = LINE_BYTES_MAX + 1 - self.carried.len();
            let window = &bytes[..room.min(bytes.len())];
            let line_end = memchr::memchr(b'\n', window);
            bytes = &bytes[line_end.map_or(window.len(), |at| at + 1)..];
            if let Some(at) = line_end
                && self.carried.is_empty()
            {
                self.admit(&window[..at], false, now_ns);
                continue;
            }
            self.carried.extend_from_slice(&window[..line_end.unwrap_or(window.len())]);
            if line_end.is_some() {
                self.end(now_ns);
            } else if self.carried.len() > LINE_BYTES_MAX {
                let mut carried = std::mem::take(&mut self.carried);
                let at = whole_characters(&carried, LINE_BYTES_MAX);
                self.admit(&carried[..at], true, now_ns);
                carried.drain(..at);
                self.carried = carried;
            }
        }
    }

    /// What is carried is a line: nothing more of it comes.
    pub(super) fn end(&mut self, now_ns: u64) {
        if !self.carried.is_empty() {
            let mut carried = std::mem::take(&mut self.carried);
            self.admit(&carried, false, now_ns);
            carried.clear();
            self.carried = carried;
        }
    }

    fn admit(&mut self, line: &[u8], goes_on: bool, now_ns: u64) {
        let bytes = line.len() as u64;
        let fits = self.waiting.len() < LINES_BURST as usize
            && self.waiting_bytes + line.len() <= BYTES_BURST as usize;
        if !(fits && self.lines.has(1) && self.bytes.has(bytes)) {
            if self.skipped == Skipped::default() {
                self.skipped_ns = now_ns;
            }
            self.skipped.lines += 1;
            self.skipped.bytes += bytes;
            return;
        }
        self.lines.take(1);
        self.bytes.take(bytes);
        let line = if goes_on { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        let text = String::from_utf8_lossy(line).into_owned();
        self.waiting_bytes += text.len();
        self.waiting.push_back(Line { text, goes_on });
    }

    /// The next line for the journal.
    pub(super) fn front(&self) -> Option<&Line> {
        self.waiting.front()
    }

    /// The next line is in the journal.
    pub(super) fn pop(&mut self) {
        if let Some(line) = self.waiting.pop_front() {
            self.waiting_bytes -= line.text.len();
        }
    }

    /// What was left out and is to be told, and when.
    pub(super) fn skipped(&self) -> Option<(u64, Skipped)> {
        (self.skipped != Skipped::default())
            .then_some((self.skipped_ns.saturating_add(TELL_NS), self.skipped))
    }

    /// It has been told.
    pub(super) fn clear_skipped(&mut self) {
        self.skipped = Skipped::default();
    }

    /// What waits will not get into the journal: it is left out.
    pub(super) fn give_up(&mut self) {
        for line in self.waiting.drain(..) {
            self.skipped.lines += 1;
            self.skipped.bytes += line.text.len() as u64;
        }
        self.waiting_bytes = 0;
    }
}

/// Where to cut bytes so that at most `most` precede, and no character is torn.
fn whole_characters(bytes: &[u8], most: usize) -> usize {
    for back in 1..=3.min(most) {
        let bytes_of_character = match bytes[most - back] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if bytes_of_character > back { most - back } else { most };
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(stderr: &mut Stderr) -> Vec<(String, bool)> {
        let mut lines = Vec::new();
        while let Some(line) = stderr.front() {
            lines.push((line.text.clone(), line.goes_on));
            stderr.pop();
        }
        lines
    }

    /// The lines of a text that comes in pieces of this many bytes.
    fn lines(text: &[u8], piece_bytes: usize) -> Vec<(String, bool)> {
        let mut stderr = Stderr::new(0);
        text.chunks(piece_bytes).for_each(|piece| stderr.push(piece, 0));
        stderr.end(0);
        assert_eq!(stderr.skipped(), None);
        taken(&mut stderr)
    }

    // REQ M4
    #[test]
    fn however_it_comes_lines_are_lines() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let text = format!("one\r\n\ntwo \u{e9}\n{long}\n{long}yz\nlast");
        let whole = |text: &str| (text.to_owned(), false);
        let begun = |text: &str| (text.to_owned(), true);
        let expected = [
            whole("one"),
            whole(""),
            whole("two \u{e9}"),
            whole(&long),
            begun(&long),
            whole("yz"),
            whole("last"),
        ];
        for piece_bytes in [1, 2, 3, 7, 4095, 4096, 4097, 4098, usize::MAX] {
            assert_eq!(lines(text.as_bytes(), piece_bytes), expected, "{piece_bytes}");
        }
        assert_eq!(lines(b"\xff\n", 1), [whole("\u{fffd}")]);
        assert_eq!(lines(b"", 1), []);
    }

    // REQ M4
    #[test]
    fn no_character_is_torn_between_two_lines() {
        for character in ["\u{e9}", "\u{20ac}", "\u{1f600}"] {
            for before in LINE_BYTES_MAX - 4..=LINE_BYTES_MAX {
                let text = format!("{}{}", "x".repeat(before), character.repeat(9));
                let got = lines(text.as_bytes(), 1000);
                assert!(got.len() == 2 && got[0].1 && got[0].0.len() <= LINE_BYTES_MAX);
                assert!(got[0].0.len() > LINE_BYTES_MAX - 4);
                assert_eq!(got[0].0.clone() + &got[1].0, text);
            }
        }
        // What is no text is cut anywhere, and still goes on.
        assert_eq!(lines(&[0x80; LINE_BYTES_MAX + 5], 999).len(), 2);
    }

    // REQ E4
    #[test]
    fn a_flood_leaves_a_burst_and_then_a_rate_and_the_rest_is_counted() {
        let mut stderr = Stderr::new(0);
        let flood = b"no\n".repeat(5000);
        stderr.push(&flood, 0);
        assert_eq!(taken(&mut stderr).len() as u64, LINES_BURST);
        let (due_ns, skipped) = stderr.skipped().unwrap();
        assert_eq!((due_ns, skipped), (SECOND, Skipped { lines: 4000, bytes: 8000 }));
        stderr.clear_skipped();
        stderr.push(&flood, SECOND);
        assert_eq!(taken(&mut stderr).len() as u64, LINES_PER_SECOND);
        assert_eq!(stderr.skipped().unwrap().1.lines, 4900);
        // A minute of silence earns the burst back and no more.
        stderr.push(&flood, 60 * SECOND);
        assert_eq!(taken(&mut stderr).len() as u64, LINES_BURST);
    }

    // REQ E4
    #[test]
    fn bytes_are_limited_too() {
        let mut stderr = Stderr::new(0);
        let wide = [&[b'w'; 4000][..], b"\n"].concat().repeat(200);
        stderr.push(&wide, 0);
        let bytes = taken(&mut stderr).iter().map(|(text, _)| text.len() as u64).sum::<u64>();
        assert!(bytes <= BYTES_BURST && bytes > BYTES_BURST - 4000, "{bytes}");
        assert_eq!(stderr.skipped().unwrap().1.bytes, 200 * 4000 - bytes);
        stderr.push(&wide, SECOND);
        let bytes = taken(&mut stderr).iter().map(|(text, _)| text.len() as u64).sum::<u64>();
        assert!(bytes <= BYTES_PER_SECOND + 4000, "{bytes}");
    }

    // REQ E4
    #[test]
    fn what_waits_is_bounded_and_can_be_given_up() {
        let mut stderr = Stderr::new(0);
        for second in 0..100 {
            stderr.push(&b"no\n".repeat(500), second * SECOND);
        }
        assert_eq!(stderr.waiting.len() as u64, LINES_BURST);
        stderr.clear_skipped();
        stderr.give_up();
        assert_eq!(stderr.skipped().unwrap().1, Skipped { lines: 1000, bytes: 2000 });
        assert_eq!((stderr.front(), stderr.waiting_bytes), (None, 0));
    }
}
