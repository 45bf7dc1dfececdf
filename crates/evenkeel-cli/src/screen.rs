//! What a recorder tells people, on standard error; and that nobody waits for them.
//!
//! ```text
//! say, show, freeze (any thread) --> what waits --> ek-screen --> standard error
//! ```
//!
//! Invariants:
//! 1. Once [`start`] was called, nobody but `ek-screen` writes, and nobody waits for it but
//!    [`close`], for a while: a terminal that was stopped (Ctrl-S) or a pipe that nobody reads
//!    holds up that thread alone.
//! 2. What waits is bounded: lines of [`WAITING_BYTES_MAX`] bytes, and how many more were left
//!    out; of tables the newest.
//! 3. Lines come out in the order in which they were said. Where standard error is no terminal,
//!    nothing else comes out, and they are what was said, byte for byte.
//! 4. On a terminal, nothing that is said moves the cursor, and no mode of it is ever changed:
//!    whenever the process ends, the terminal is as it was.
//!
//! It is a thread, because a terminal cannot be written without waiting: `O_NONBLOCK` would be set for
//! everybody who has the same terminal open, the shell among them, and whether a terminal can take
//! a line may change between the question and the write.

mod canvas;
mod terminal;

use crate::control::tame;
use crate::table::View;
use canvas::{Canvas, Told};
use evenkeel::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_hierarchy::{Condvar, Mutex, Screen as Level, with_root};
use rustix::io::Errno;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use terminal::{Output, Stderr, Terminal};

/// Lines that wait to be written; more are counted.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// One write takes no more.
const WRITE_BYTES_MAX: usize = 16 << 10;
/// How long the end waits while nothing is taken.
const STALLED: Duration = Duration::from_millis(500);
/// How long it waits in all.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// As much as a thread has by default: it draws tables of many channels.
const STACK_BYTES: usize = 2 << 20;

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// Starts the thread. Where there can be none, everybody writes for himself, and may wait.
pub(crate) fn start(threads: &ThreadCoordinator) {
    let terminal = Terminal::of_stderr();
    let shared = Arc::new(Shared::default());
    let (of_thread, output) = (shared.clone(), Stderr::new(terminal));
    let canvas = Canvas::new(terminal.is_some_and(|terminal| terminal.has_colour));
    // All it does is to wait: for something to say, and for who reads it.
    let live = move |pulse: &Pulse<'_>| pulse.waiting(|| of_thread.live(output, canvas));
    if threads
        .thread("ek-screen")
        .class(Class::Monitoring)
        .stack_bytes(STACK_BYTES)
        .kept()
        .start(live)
        .is_ok()
    {
        let _ = SCREEN.set(Screen { shared, terminal });
    }
}

/// Says a line. `false`: nobody is there who would write it.
pub(crate) fn say(line: &str) -> bool {
    SCREEN.get().is_some_and(|screen| {
        screen.shared.say(&if screen.terminal.is_some() { tame(line) } else { line.to_owned() });
        true
    })
}

/// Says lines of our own.
pub(crate) fn say_lines(lines: &str) -> bool {
    SCREEN.get().is_some_and(|screen| {
        let tamed = || lines.split('\n').map(tame).collect::<Vec<_>>().join("\n");
        screen.shared.say(&if screen.terminal.is_some() { tamed() } else { lines.to_owned() });
        true
    })
}

/// Whether there is a terminal that a table can be shown on.
pub(crate) fn has_table() -> bool {
    SCREEN.get().and_then(|screen| screen.terminal).is_some_and(|terminal| terminal.has_table)
}

/// Shows a table in the place of the last.
pub(crate) fn show(view: View) {
    if let Some(screen) = SCREEN.get() {
        screen.shared.show(view);
    }
}

/// The table stays as it is, and what is said from now on stands below it.
pub(crate) fn freeze() {
    if let Some(screen) = SCREEN.get() {
        screen.shared.freeze();
    }
}

/// Waits until everything is written, while something is being taken.
pub(crate) fn close() {
    if let Some(screen) = SCREEN.get() {
        screen.shared.close();
    }
}

struct Screen {
    shared: Arc<Shared>,
    terminal: Option<Terminal>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Level, State>,
    /// Something is to be written.
    told: Condvar,
    /// Something was taken.
    taken: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Told,
    /// Lines that there was no room for.
    left_out: u64,
    is_frozen: bool,
    is_writing: bool,
    is_closing: bool,
    /// Writes so far.
    writes: u64,
}

impl State {
    fn is_idle(&self) -> bool {
        !self.is_writing && self.waiting.is_empty() && self.left_out == 0
    }

    fn push(&mut self, line: &str) {
        let text = if self.is_frozen { &mut self.waiting.below } else { &mut self.waiting.above };
        text.push_str(line);
        text.push('\n');
    }

    /// What is to be written now.
    fn take(&mut self) -> Told {
        if self.left_out > 0 {
            let lines = std::mem::take(&mut self.left_out);
            self.push(&format!("evenkeel: nobody read this, and {lines} lines were left out"));
        }
        self.is_writing = true;
        std::mem::take(&mut self.waiting)
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    fn say(&self, line: &str) {
        self.with(|state| {
            let waiting = state.waiting.above.len() + state.waiting.below.len();
            if state.left_out > 0 || waiting + line.len() > WAITING_BYTES_MAX {
                state.left_out += 1;
            } else {
                state.push(line);
            }
        });
        self.told.notify_one();
    }

    fn show(&self, view: View) {
        // The one before is dropped with nothing held: it is as large as the table.
        let shown = self.with(|state| (!state.is_frozen).then(|| state.waiting.view.replace(view)));
        if shown.is_some() {
            self.told.notify_one();
        }
    }

    fn freeze(&self) {
        self.with(|state| {
            state.is_frozen = true;
            state.waiting.is_last = true;
        });
    }

    /// Writes what is told, until it is closed.
    fn live(&self, mut output: impl Output, mut canvas: Canvas) {
        loop {
            let Some(mut told) = self.next() else { return };
            let place = output.place();
            if let Some(view) = told.view.as_mut().filter(|view| view.trouble.is_none()) {
                view.free_bytes = terminal::free_bytes(&view.dir);
            }
            self.write(&mut output, canvas.compose(told, place).as_bytes());
            self.with(|state| state.is_writing = false);
            self.taken.notify_all();
        }
    }

    /// Waits for something to write; `None` when it is closed and all is written.
    fn next(&self) -> Option<Told> {
        with_root(|house| {
            let mut state = self.state.lock(house);
            while state.waiting.is_empty() && state.left_out == 0 {
                if state.is_closing {
                    return None;
                }
                self.told.wait(&mut state);
            }
            Some(state.take())
        })
    }

    /// What is refused for good is gone: there is nobody left to tell.
    fn write(&self, output: &mut impl Output, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match output.write(&bytes[..bytes.len().min(WRITE_BYTES_MAX)]) {
                Ok(written) => bytes = &bytes[written.min(bytes.len())..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => output.wait(),
                Err(_) => return,
            }
            self.with(|state| state.writes += 1);
            self.taken.notify_all();
        }
    }

    fn close(&self) {
        let over_at = Instant::now() + CLOSE_MAX;
        with_root(|house| {
            let mut state = self.state.lock(house);
            state.is_closing = true;
            self.told.notify_one();
            let mut writes = state.writes;
            let mut until = Instant::now() + STALLED;
            while !state.is_idle() {
                if state.writes != writes {
                    (writes, until) = (state.writes, Instant::now() + STALLED);
                }
                if until.min(over_at) <= Instant::now() {
                    return;
                }
                let _ = self.taken.wait_until(&mut state, until.min(over_at));
            }
        });
    }
}

#[cfg(test)]
mod tests;
