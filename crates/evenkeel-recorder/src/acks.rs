//! `ek-acks`: tells what is acknowledged to a descriptor, a line a channel.
//!
//! Only the newest watermark of each channel is kept: who reads slowly gets
//! fewer lines, and nobody waits for it.

use evenkeel::threads::{Class, ThreadCoordinator};
use evenkeel_hierarchy::{Condvar, Mutex, RecorderAcks, with_root};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Marks {
    /// Sequence and bytes by channel name.
    newest: BTreeMap<String, (u64, u64)>,
    closing: bool,
    gone: bool,
}

struct Shared {
    marks: Mutex<RecorderAcks, Marks>,
    changed: Condvar,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Marks) -> T) -> T {
        let done = with_root(|house| act(&mut self.marks.lock(house)));
        self.changed.notify_all();
        done
    }
}

/// The side that posts.
pub(crate) struct Acks {
    shared: Arc<Shared>,
}

impl Acks {
    /// Starts the thread that writes to `out`.
    pub(crate) fn start(threads: &ThreadCoordinator, out: File) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { marks: Mutex::default(), changed: Condvar::new() });
        let theirs = shared.clone();
        let builder = threads.thread("ek-acks").class(Class::System).stack_bytes(64 << 10).kept();
        builder.start(move |pulse| {
            // All it does is to wait: for news, and for who reads them.
            pulse.waiting(|| write_all(&theirs, out));
            theirs.with(|marks| marks.gone = true);
        })?;
        Ok(Self { shared })
    }

    /// Sets the watermark of a channel.
    pub(crate) fn post(&self, name: &str, sequence: u64, bytes: u64) {
        self.shared.with(|marks| match marks.newest.get_mut(name) {
            Some(mark) => *mark = (sequence, bytes),
            None => _ = marks.newest.insert(name.to_owned(), (sequence, bytes)),
        });
    }

    /// Writes what is posted and ends, or gives up on a reader that does not read.
    pub(crate) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        self.shared.with(|marks| marks.closing = true);
        with_root(|house| {
            let mut marks = self.shared.marks.lock(house);
            while !marks.gone && !self.shared.changed.wait_until(&mut marks, until).timed_out() {}
        });
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        self.shared.with(|marks| marks.closing = true);
    }
}

fn write_all(shared: &Shared, mut out: File) {
    loop {
        let newest = with_root(|house| {
            let mut marks = shared.marks.lock(house);
            shared.changed.wait_while(&mut marks, |marks| marks.newest.is_empty() && !marks.closing);
            std::mem::take(&mut marks.newest)
        });
        // What was posted before the end is written first.
        if newest.is_empty() {
            return;
        }
        let lines: String =
            newest.iter().map(|(name, (sequence, bytes))| format!("{name} {sequence} {bytes}\n")).collect();
        // A reader that is gone is told nothing more; recording goes on.
        if !write_waiting(&mut out, lines.as_bytes()) {
            return;
        }
    }
}

/// Writes also to a descriptor that somebody made non-blocking.
fn write_waiting(out: &mut File, mut bytes: &[u8]) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(&*out, PollFlags::OUT)];
                if poll(&mut ready, None).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
