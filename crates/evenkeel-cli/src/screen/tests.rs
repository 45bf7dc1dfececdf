#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
use super::canvas::Place;
use super::*;
use crate::table::Size;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Takes a write whenever the test says so.
struct Slow {
    allowed: Receiver<()>,
    written: Sender<Vec<u8>>,
    size: Option<Size>,
}

impl Output for Slow {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.allowed.recv().map_err(|_| Errno::IO)?;
        self.written.send(bytes.to_owned()).map_err(|_| Errno::IO)?;
        Ok(bytes.len())
    }

    fn wait(&mut self) {}

    fn place(&mut self) -> Place {
        Place { size: self.size, is_strange: false }
    }
}

struct Scene {
    shared: Arc<Shared>,
    allow: Sender<()>,
    written: Receiver<Vec<u8>>,
    thread: JoinHandle<()>,
}

fn scene(size: Option<Size>) -> Scene {
    let (shared, (allow, allowed), (sender, written)) = (Arc::new(Shared::default()), channel(), channel());
    let of_thread = shared.clone();
    let output = Slow { allowed, written: sender, size };
    let thread = std::thread::spawn(move || of_thread.live(output, Canvas::new(false)));
    Scene { shared, allow, written, thread }
}

fn view(seconds: u64) -> View {
    View { elapsed: Duration::from_secs(seconds), dir: "rec".into(), ..View::default() }
}

impl Scene {
    /// What is written when everything is taken.
    fn rest(self) -> String {
        (0..1_000).for_each(|_| self.allow.send(()).unwrap());
        self.shared.close();
        self.thread.join().unwrap();
        String::from_utf8(self.written.try_iter().flatten().collect()).unwrap()
    }

    /// Waits until the thread is in a write that is not taken.
    fn wait_stalled(&self) {
        while !self.shared.with(|state| state.is_writing) {
            std::thread::yield_now();
        }
    }
}

// REQ C5
#[test]
fn who_does_not_listen_holds_up_nobody_and_the_newest_table_is_shown_later() {
    let scene = scene(Some(Size { width: 80, height: 24 }));
    scene.shared.say("first");
    scene.wait_stalled();
    for second in 0..1_000 {
        scene.shared.show(view(second));
    }
    scene.shared.say("second");
    let rest = scene.rest();
    let last = crate::table::render(&view(999), Size { width: 80, height: 24 }, false);
    assert_eq!(rest, format!("first\nsecond\n{last}"));
}

// REQ M7
#[test]
fn what_waits_is_bounded_and_what_is_left_out_is_counted() {
    let scene = scene(None);
    scene.shared.say("first");
    scene.wait_stalled();
    let line = "x".repeat(1023);
    for _ in 0..300 {
        scene.shared.say(&line);
    }
    scene.shared.say("short");
    let rest = scene.rest();
    let left_out = "evenkeel: nobody read this, and 45 lines were left out\n";
    assert_eq!(rest, format!("first\n{}{left_out}", format!("{line}\n").repeat(256)));
}

// REQ C5
#[test]
fn the_end_waits_for_who_takes_something_and_not_for_who_takes_nothing() {
    let slow = scene(None);
    slow.shared.say("taken");
    slow.wait_stalled();
    let (shared, allow) = (slow.shared.clone(), slow.allow.clone());
    let later = std::thread::spawn(move || {
        while !shared.with(|state| state.is_closing) {
            std::thread::yield_now();
        }
        allow.send(()).unwrap();
    });
    slow.shared.close();
    assert_eq!(slow.written.try_recv().as_deref(), Ok(&b"taken\n"[..]));
    later.join().unwrap();
    slow.thread.join().unwrap();

    let stalled = scene(None);
    stalled.shared.say("never taken");
    let (shared, (over, is_over)) = (stalled.shared.clone(), channel());
    let closing = std::thread::spawn(move || {
        let began = Instant::now();
        shared.close();
        over.send(began.elapsed()).unwrap();
    });
    let took = is_over.recv_timeout(4 * CLOSE_MAX).expect("it waits for ever");
    assert!((STALLED..CLOSE_MAX).contains(&took), "{took:?}");
    closing.join().unwrap();
    drop(stalled.allow);
    stalled.thread.join().unwrap();
}

// REQ M5
#[test]
fn after_the_last_table_no_other_is_shown() {
    let size = Size { width: 80, height: 24 };
    let scene = scene(Some(size));
    scene.shared.say("begun");
    scene.wait_stalled();
    scene.shared.show(view(1));
    scene.shared.freeze();
    scene.shared.say("stopping");
    scene.shared.show(view(2));
    let table = crate::table::render(&view(1), size, false);
    assert_eq!(scene.rest(), format!("begun\n{table}stopping\n"));
}
