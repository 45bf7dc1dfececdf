//! systemd's protocol: readiness, the watchdog, and a stop that is given its time.
//!
//! ```text
//! READY=1 STATUS=...                        recording has begun
//! WATCHDOG=1                                every half of WATCHDOG_USEC, while the recorder is alive
//! STATUS=...                                trouble, and its end
//! STOPPING=1 EXTEND_TIMEOUT_USEC=...        a stop begins
//! EXTEND_TIMEOUT_USEC=... WATCHDOG=1        every second of it, and the watchdog as before
//! STATUS=...                                how it ended
//! ```
//!
//! Invariants:
//! 1. Whatever `NOTIFY_SOCKET` is, nothing waits for it: what cannot be sent now is tried
//!    again later by the thread `ek-systemd`, and no more than a few messages wait.
//! 2. `WATCHDOG=1` says that the log's thread was seen at work within the watchdog's period
//!    (or within three seconds, where that is more: it is seen every second), that the trouble
//!    it is in was told, or that a stop is within its grace period, which ends by itself.
//! 3. What is left of the grace period, and a second more, is asked for again every second: systemd
//!    may begin a time of its own at any moment of a stop.
//!
//! The crate `sd-notify` is not used: it sends with a socket that blocks, knows no abstract
//! sockets, and its extension has 32 bits of microseconds, 71 minutes.

use crate::text;
use evenkeel::clock::mono;
use evenkeel::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_hierarchy::{Condvar, Manager, Mutex, with_root};
use evenkeel_recorder::Recorder;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages that wait to be sent; older ones are not worth more.
const WAITING_MAX: usize = 8;
/// The watchdog hears of us no more often, whatever it asks for.
const WATCH_EVERY_LEAST: Duration = Duration::from_millis(1);
/// How soon one that could not be sent is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often a stop asks for the rest of its time.
const EXTEND_EVERY: Duration = Duration::from_secs(1);
/// What is asked for beyond the grace period: the process has to go.
const BEYOND_GRACE: Duration = Duration::from_secs(1);
/// The log's thread is seen every second; a machine under load may be late.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// The service manager that started us.
#[derive(Clone)]
pub(crate) struct Systemd(Arc<Shared>);

struct Shared {
    socket: OwnedFd,
    address: SocketAddrUnix,
    /// The watchdog's period.
    watchdog: Option<Duration>,
    state: Mutex<Manager, State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    /// Until when a stop that has begun may last, with what is beyond.
    stops_until: Option<Instant>,
}

impl Systemd {
    /// The manager named by the environment, if there is one that can be told anything.
    /// A wrong name is told, and otherwise ignored.
    pub(crate) fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddrUnix::new(&name),
            [b'@', abstract_name @ ..] => SocketAddrUnix::new_abstract_name(abstract_name),
            _ => Err(Errno::AFNOSUPPORT),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        match address.and_then(|address| Ok((address, socket?))) {
            Ok((address, socket)) => {
                let word = |name| std::env::var(name).ok();
                let watchdog = watchdog(word("WATCHDOG_USEC"), word("WATCHDOG_PID"), std::process::id());
                let (state, changed) = Default::default();
                Some(Self(Arc::new(Shared { socket, address, watchdog, state, changed })))
            }
            Err(e) => {
                text::complain(&format!(
                    "systemd is not told anything: NOTIFY_SOCKET={}: {e}",
                    name.display()
                ));
                None
            }
        }
    }

    /// Recording has begun. From now on the watchdog is told that the recorder is alive.
    pub(crate) fn ready(&self, threads: &ThreadCoordinator, status: &str, recorder: &Arc<Recorder>) {
        self.0.send(format!("READY=1\nSTATUS={}", line(status)));
        let (shared, recorder) = (self.0.clone(), Arc::downgrade(recorder));
        // Between two words it waits, and each is sent without waiting.
        let live = move |pulse: &Pulse<'_>| {
            let watchdog = shared.watchdog;
            let is_well = || recorder.upgrade().is_some_and(|recorder| is_alive(&recorder, watchdog));
            pulse.waiting(|| shared.live(is_well));
        };
        if let Err(e) = threads.thread("ek-systemd").class(Class::System).kept().start(live) {
            text::complain(&format!("no thread for systemd's watchdog: {e}"));
        }
    }

    /// Tells people who ask systemd.
    pub(crate) fn status(&self, status: &str) {
        self.0.send(format!("STATUS={}", line(status)));
    }

    /// A stop begins, and may take so long.
    pub(crate) fn stopping(&self, reason: &str, grace: Duration) {
        let left = grace.saturating_add(BEYOND_GRACE);
        self.0.with(|state| {
            state.stops_until = Instant::now().checked_add(left);
            // That it was ready is past.
            state.waiting.clear();
        });
        self.0.send(format!("STOPPING=1\n{}\nSTATUS=stopping: {}", extend(left), line(reason)));
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    /// Sends a message now, or leaves it to the thread.
    fn send(&self, message: String) {
        if !self.try_to_send(&message) {
            self.with(|state| {
                state.waiting.push_back(message);
                let too_many = state.waiting.len().saturating_sub(WAITING_MAX);
                state.waiting.drain(..too_many);
            });
        }
    }

    fn try_to_send(&self, message: &str) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendto(&self.socket, message.as_bytes(), flags, &self.address).is_ok()
    }

    /// Sends what has to be sent again and again, and what could not be sent before.
    fn live(&self, is_alive: impl Fn() -> bool) {
        let mut schedule = Schedule::new(self.watchdog, Instant::now());
        loop {
            let (stops_until, waiting) =
                self.with(|state| (state.stops_until, std::mem::take(&mut state.waiting)));
            let late: VecDeque<String> =
                waiting.into_iter().skip_while(|message| self.try_to_send(message)).collect();
            let (words, mut pause) = schedule.turn(Instant::now(), stops_until, &is_alive);
            for word in words {
                self.try_to_send(&word);
            }
            with_root(|house| {
                let mut state = self.state.lock(house);
                // What was to be said before a stop began is past.
                if state.stops_until == stops_until {
                    late.into_iter().rev().for_each(|message| state.waiting.push_front(message));
                } else {
                    pause = Duration::ZERO;
                }
                if !state.waiting.is_empty() {
                    pause = pause.min(AGAIN);
                }
                let _ = self.changed.wait_for(&mut state, pause);
            });
        }
    }
}

/// When what is to be sent.
struct Schedule {
    /// Half of the watchdog's period.
    half: Option<Duration>,
    watch_at: Instant,
    extend_at: Option<Instant>,
}

impl Schedule {
    fn new(watchdog: Option<Duration>, now: Instant) -> Self {
        Self {
            half: watchdog.map(|period| (period / 2).max(WATCH_EVERY_LEAST)),
            watch_at: now,
            extend_at: None,
        }
    }

    /// What is due now, and how long nothing will be.
    fn turn(
        &mut self,
        now: Instant,
        stops_until: Option<Instant>,
        is_alive: impl Fn() -> bool,
    ) -> (Vec<String>, Duration) {
        let mut words = Vec::new();
        if let Some(until) = stops_until {
            // The first word of a stop has asked for all of it.
            let extend_at = self.extend_at.get_or_insert(now + EXTEND_EVERY);
            if *extend_at <= now {
                *extend_at = now + EXTEND_EVERY;
                words.push(extend(until.saturating_duration_since(now)));
            }
        }
        if let Some(half) = self.half
            && self.watch_at <= now
        {
            self.watch_at = now + half;
            if stops_until.is_some_and(|until| now < until) || is_alive() {
                words.push("WATCHDOG=1".to_owned());
            }
        }
        let next = self.half.map(|_| self.watch_at).into_iter().chain(self.extend_at).min();
        let pause = next.map_or(EXTEND_EVERY, |next| next.saturating_duration_since(now));
        (words, pause.min(EXTEND_EVERY))
    }
}

/// The watchdog's period, if it watches this process.
fn watchdog(period_us: Option<String>, of: Option<String>, pid: u32) -> Option<Duration> {
    if of.is_some_and(|of| of.parse() != Ok(pid)) {
        return None;
    }
    let period = Duration::from_micros(period_us?.parse().ok()?);
    (!period.is_zero()).then_some(period)
}

/// Whether the log's thread is at work, or has said why it is not.
fn is_alive(recorder: &Recorder, watchdog: Option<Duration>) -> bool {
    let seen_ago_ns = mono().as_nanos().saturating_sub(recorder.seen_at_work_ns());
    is_at_work(Duration::from_nanos(seen_ago_ns), watchdog) || recorder.trouble().is_some()
}

/// Whether it is enough for this watchdog to have seen it at work so long ago.
fn is_at_work(seen_ago: Duration, watchdog: Option<Duration>) -> bool {
    seen_ago <= watchdog.unwrap_or_default().max(SEEN_WITHIN)
}

fn extend(by: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", by.as_micros())
}

/// Text that is one line: a line break would begin another word of the protocol.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    // REQ T6
    #[test]
    fn the_watchdog_hears_of_us_twice_a_period_while_we_are_alive() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(Some(4 * SECOND), begin);
        let mut heard = Vec::new();
        for second in 0..12 {
            let (words, pause) = schedule.turn(begin + second * SECOND, None, || second < 5);
            assert!(pause <= EXTEND_EVERY && !pause.is_zero());
            heard.extend(words.into_iter().map(|word| (second, word)));
        }
        let watchdog = || "WATCHDOG=1".to_owned();
        assert_eq!(heard, [(0, watchdog()), (2, watchdog()), (4, watchdog())]);
        let (words, pause) = Schedule::new(Some(Duration::from_nanos(1)), begin).turn(begin, None, || true);
        assert!(words.len() == 1 && pause >= Duration::from_millis(1));
        let (words, pause) = Schedule::new(None, begin).turn(begin, None, || true);
        assert!(words.is_empty() && pause == EXTEND_EVERY);
    }

    // REQ C5
    #[test]
    fn a_stop_asks_for_what_is_left_of_its_time_and_is_alive_until_then() {
        let begin = Instant::now();
        let until = Some(begin + 3 * SECOND);
        let mut schedule = Schedule::new(Some(SECOND), begin);
        schedule.turn(begin, None, || true);
        let at = |schedule: &mut Schedule, half_seconds: u32| {
            let (words, _) = schedule.turn(begin + half_seconds * (SECOND / 2), until, || false);
            words.join(" ")
        };
        assert_eq!(at(&mut schedule, 1), "WATCHDOG=1");
        assert_eq!(at(&mut schedule, 2), "WATCHDOG=1");
        assert_eq!(at(&mut schedule, 3), "EXTEND_TIMEOUT_USEC=1500000 WATCHDOG=1");
        assert_eq!(at(&mut schedule, 4), "WATCHDOG=1");
        assert_eq!(at(&mut schedule, 5), "EXTEND_TIMEOUT_USEC=500000 WATCHDOG=1");
        // What comes after that has hung.
        assert_eq!(at(&mut schedule, 6), "");
    }

    // REQ T6
    #[test]
    fn a_short_period_does_not_take_an_idle_log_for_a_dead_one() {
        let short = Some(SECOND / 10);
        assert!(is_at_work(2 * SECOND, short) && !is_at_work(4 * SECOND, short));
        let long = Some(30 * SECOND);
        assert!(is_at_work(29 * SECOND, long) && !is_at_work(31 * SECOND, long));
    }

    // REQ T6
    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let of = |period: Option<&str>, pid: Option<&str>| {
            watchdog(period.map(str::to_owned), pid.map(str::to_owned), 7)
        };
        assert_eq!(of(Some("3000000"), None), Some(3 * SECOND));
        assert_eq!(of(Some("3000000"), Some("7")), Some(3 * SECOND));
        for (period, pid) in [
            (None, None),
            (Some("3000000"), Some("8")),
            (Some("3000000"), Some("")),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("3 s"), None),
        ] {
            assert_eq!(of(period, pid), None, "{period:?} {pid:?}");
        }
    }

    // REQ E6
    #[test]
    fn nothing_that_is_told_is_another_word_of_the_protocol() {
        assert_eq!(line("a\nWATCHDOG=trigger\u{1b}[2J"), "a WATCHDOG=trigger [2J");
    }
}
