//! `ek-acks`: tells what is acknowledged to a descriptor, a line a channel.
//!
//! Only the newest watermark of each channel is kept: who reads slowly gets
//! fewer lines, and nobody waits for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Marks {
    /// Sequence and bytes by channel name.
    newest: BTreeMap<String, (u64, u64)>,
    closing: bool,
    gone: bool,
}

/// The side that posts.
pub(crate) struct Acks {
    shared: Arc<(Mutex<Marks>, Condvar)>,
}

impl Acks {
    /// Starts the thread that writes to `out`.
    pub(crate) fn start(out: File) -> std::io::Result<Self> {
        let shared = Arc::new((Mutex::new(Marks::default()), Condvar::new()));
        let theirs = shared.clone();
        std::thread::Builder::new().name("ek-acks".to_owned()).stack_size(64 << 10).spawn(move || {
            write_all(&theirs, out);
            lock(&theirs.0).gone = true;
            theirs.1.notify_all();
        })?;
        Ok(Self { shared })
    }

    /// Sets the watermark of a channel.
    pub(crate) fn post(&self, name: &str, sequence: u64, bytes: u64) {
        let mut marks = lock(&self.shared.0);
        match marks.newest.get_mut(name) {
            Some(mark) => *mark = (sequence, bytes),
            None => {
                marks.newest.insert(name.to_owned(), (sequence, bytes));
            }
        }
        drop(marks);
        self.shared.1.notify_all();
    }

    /// Writes what is posted and ends, or gives up on a reader that does not read.
    pub(crate) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut marks = lock(&self.shared.0);
        marks.closing = true;
        self.shared.1.notify_all();
        while !marks.gone {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            marks = match self.shared.1.wait_timeout(marks, left) {
                Ok((marks, _)) => marks,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        lock(&self.shared.0).closing = true;
        self.shared.1.notify_all();
    }
}

fn lock(marks: &Mutex<Marks>) -> std::sync::MutexGuard<'_, Marks> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_all(shared: &(Mutex<Marks>, Condvar), mut out: File) {
    loop {
        let mut marks = lock(&shared.0);
        while marks.newest.is_empty() {
            if marks.closing {
                return;
            }
            marks = shared.1.wait(marks).unwrap_or_else(PoisonError::into_inner);
        }
        let newest = std::mem::take(&mut marks.newest);
        drop(marks);
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
