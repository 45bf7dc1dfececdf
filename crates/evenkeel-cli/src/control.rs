//! The control socket of a running recorder, `DIR/control.sock`: its server and its clients.
//!
//! One JSON object a line, each way; every one has a `version`, now 1.
//!
//! ```text
//! {"version":1,"command":"status"}                   the object that `status --json` prints
//! {"version":1,"command":"stop","force":false,       {"version":1,"state":"stopping","pid":1,"grace_ms":20000}
//!  "reason":"enough"}                                and, when it is over, {"version":1,"exit_code":0,...}
//! anything else                                      {"version":1,"error":"...","busy":false}
//! ```
//!
//! `force` and `reason` may be left out. A connection asks one thing after the other;
//! after an error, and after the end of a stop, nothing more is answered.
//!
//! Invariants:
//! 1. A client waits for the server, never the server for a client: one thread, `ek-control`,
//!    polls them all, reads and writes only what does not block, and gives up who is
//!    silent or does not read for five seconds. Only who waits for the end of a stop may be silent.
//! 2. What a client can make the server hold is bounded: so many clients, one request and
//!    one answer each, answered in rounds with a pause. A request is 64 KiB at most.
//! 3. The end of a stop waits for no client longer than a third of a second.
//! 4. The socket is made and removed by the recorder that holds the directory's lock, and
//!    only a socket is ever removed. Only its owner may connect (mode 0600).
//! 5. Without a socket there is no control, and nothing else is missing: recording goes on.
//!
//! Clients find three cases: something answers; nothing runs there; something runs
//! there that cannot be asked. The last is never told as the second.

mod client;
mod place;
mod protocol;
mod server;
mod service;

pub(crate) use client::{Answer, Lost, ask};
pub(crate) use protocol::{End, Request, Status, Stopping, check_reason};
pub(crate) use server::Control;
pub(crate) use service::{Service, condition};

/// The socket's name in the recording directory.
pub(crate) const SOCKET: &str = "control.sock";

/// Text of somebody else's, with nothing in it that could move a terminal's cursor.
pub(crate) fn tame(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A time to wait as `poll` wants it.
fn timespec(left: std::time::Duration) -> rustix::event::Timespec {
    rustix::event::Timespec::try_from(left)
        .unwrap_or(rustix::event::Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ E6
    #[test]
    fn what_others_say_moves_no_cursor() {
        assert_eq!(tame("left: gone at /dev/snd"), "left: gone at /dev/snd");
        assert_eq!(tame("\u{1b}[2J\r\n\u{9b}1m"), "\\u{1b}[2J\\r\\n\\u{9b}1m");
    }
}
