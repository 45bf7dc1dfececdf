//! The stop of a recorder, in parts.
//!
//! ```text
//! order_stop_capture -> wait_captured(c)...      read what has arrived
//! order_finish       -> wait_flushed(c)...       nothing more is accepted; all of it is stored
//!                    -> wait_finished
//!                    -> seal_given_up -> verify_last
//! release, faults
//! ```
//!
//! Invariants:
//! 1. Every part can be called from any thread, any number of times; a wait
//!    ends at its time, whatever the sources and the disk do.
//! 2. A reader that hangs holds up its own `wait_captured` and nothing else.
//! 3. What was accepted before [`Recorder::order_finish`] is stored or declared;
//!    what comes after is refused and counted as that.

use super::Recorder;
use crate::hub::{ChannelCounts, Order, Sealing};
use crate::readback::check_segment;
use evenkeel_log::{Action, part_name, seal_given_up, sealed_name};
use std::fmt;
use std::io;
use std::io::ErrorKind::NotFound;
use std::time::Duration;

/// How a recording ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Whether everything accepted is stored or declared, sealed, and the last
    /// segment was read back.
    pub clean: bool,
    /// Whether nothing had to be dropped.
    pub complete: bool,
    /// What went wrong, in words.
    pub faults: Vec<String>,
    /// Each channel's counts.
    pub channels: Vec<ChannelCounts>,
}

/// What a channel has not let go of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The channel.
    pub channel: String,
    /// Bytes of memory that it holds.
    pub bytes: usize,
    /// Whether a thread still reads its source.
    pub reading: bool,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, self.reading) {
            (0, _) => write!(f, "{} is still read", self.channel),
            (bytes, false) => write!(f, "{} holds {bytes} bytes", self.channel),
            (bytes, true) => write!(f, "{} holds {bytes} bytes and is still read", self.channel),
        }
    }
}

/// Some channels have not let go of memory or a thread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not released: {}", self.0.iter().map(Held::to_string).collect::<Vec<_>>().join("; "))]
pub struct StillHeld(pub Vec<Held>);

impl Recorder {
    /// The channels' names; their places are what the parts of the stop are told.
    pub fn channel_names(&self) -> Vec<String> {
        self.channels().into_iter().map(|c| c.name).collect()
    }

    /// Tells every source to read what has arrived and then no more; commands are told
    /// to end, and made to at `kill_at_ns` (monotonic). Returns at once.
    pub fn order_stop_capture(&self, kill_at_ns: u64) {
        self.hub.give_order(Order::StopCapture);
        self.commands.stop(kill_at_ns);
    }

    /// Waits until a channel's source is read no more; `false` when `until_ns`
    /// (monotonic) comes first. Why a source failed is in [`ChannelCounts::fault`].
    ///
    /// # Panics
    /// When there is no such channel.
    pub fn wait_captured(&self, channel: usize, until_ns: u64) -> bool {
        self.hub.wait_until(until_ns, |state| (!state.counts(channel).reading).then_some(true))
    }

    /// Closes the intake and tells the log to write the end. Returns at once.
    ///
    /// What was accepted before is stored, or declared where it does not fit on
    /// the disk. What a reader brings from now on is refused, and the reader ends.
    pub fn order_finish(&self) {
        self.hub.give_order(Order::Finish);
        // One that has not ended by now had its time.
        self.commands.stop(0);
        self.remove_no_more();
    }

    /// Waits until everything accepted of a channel is acknowledged or declared
    /// dropped; `false` when `until_ns` (monotonic) comes first, or never will be.
    ///
    /// On a full disk that takes [`Recorder::order_finish`]: only the end spends the ballast.
    ///
    /// # Panics
    /// When there is no such channel.
    pub fn wait_flushed(&self, channel: usize, until_ns: u64) -> bool {
        self.hub.wait_until(until_ns, |state| {
            let settled = state.counts(channel).is_settled();
            (settled || state.log().gone).then_some(settled)
        })
    }

    /// Waits until the log is ended: its last commit durable, its threads gone
    /// from the directory. `false` when `until_ns` (monotonic) comes first, or
    /// the end could not be written.
    ///
    /// A segment whose seal failed is left to [`Recorder::seal_given_up`].
    pub fn wait_finished(&self, until_ns: u64) -> bool {
        self.hub.wait_until(until_ns, |state| state.log().gone.then_some(state.log().finished))
    }

    /// Segments sealed on the way that were not read back, yet or at all: a flood that goes on
    /// leaves no time for it, and a stop reads only the last one.
    pub fn unread_segments(&self) -> u64 {
        self.hub.log_status().unread
    }

    /// Waits until every segment sealed on the way was read back; `false` when
    /// `until_ns` (monotonic) comes first. Damage is in [`Recorder::faults`].
    pub fn wait_read_back(&self, until_ns: u64) -> bool {
        self.hub.wait_until(until_ns, |state| (state.log().unread == 0).then_some(true))
    }

    /// Seals what the log had to give up on the way, once it is ended; answers
    /// what is wrong with it. What could not be sealed is tried again by the next call.
    pub fn seal_given_up(&self) -> Vec<String> {
        let mut told = Vec::new();
        for number in self.hub.log_status().given_up.into_keys() {
            let mut before = Sealing::Unsealed;
            self.hub.update_log(|log| {
                if let Some(sealing) = log.given_up.get_mut(&number) {
                    before.clone_from(sealing);
                    if *sealing == Sealing::Unsealed {
                        *sealing = Sealing::UnderWay;
                    }
                }
            });
            match before {
                Sealing::Unsealed => told.extend(self.seal_one(number)),
                Sealing::UnderWay => told.push(format!("segment {number} was given up and is being sealed")),
                Sealing::Done(fault) => told.extend(fault),
            }
        }
        told
    }

    fn seal_one(&self, number: u64) -> Option<String> {
        let (fault, is_segment, now) = match seal_given_up(&self.storage, number, crate::now()) {
            Ok(sealed) => {
                let places = sealed.losses.len();
                let fault = (places > 0)
                    .then(|| format!("segment {number} was given up, and {places} places of it are damaged"));
                (
                    fault.clone(),
                    !matches!(sealed.action, Action::SetAside | Action::Removed),
                    Sealing::Done(fault),
                )
            }
            // The seal had come as far as the name when it failed.
            Err(e) if e.kind() == NotFound && self.is_sealed(number) => (None, true, Sealing::Done(None)),
            Err(e) => {
                let fault = format!("segment {number} was given up and cannot be sealed: {e}");
                (Some(fault), false, Sealing::Unsealed)
            }
        };
        self.hub.update_log(|log| {
            log.given_up.insert(number, now);
            if is_segment {
                log.last_sealed = log.last_sealed.max(Some(number));
            }
        });
        fault
    }

    /// Whether a segment has its final name, durably, and reads back whole.
    fn is_sealed(&self, number: u64) -> bool {
        check_segment(&*self.storage, &sealed_name(number)).is_ok() && self.storage.sync_dir().is_ok()
    }

    /// Reads the last segment back, once the log is ended and it is sealed.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn verify_last(&self) -> Result<(), String> {
        let status = self.hub.log_status();
        let unsealed = status.given_up.iter().rev().find(|(_, sealing)| !matches!(sealing, Sealing::Done(_)));
        match (status.last_sealed, unsealed) {
            _ if !status.finished => Err("the log is not ended".to_owned()),
            (last, Some((number, _))) if Some(*number) > last => {
                Err(format!("the last segment, {}, is not sealed", part_name(*number)))
            }
            (Some(number), _) => check_segment(&*self.storage, &sealed_name(number)),
            (None, _) => Err("no segment was sealed".to_owned()),
        }
    }

    /// Lets go of all memory that waits for channels: nothing of it is lent from now on, and it is the system's again.
    ///
    /// # Errors
    /// [`StillHeld`]: channels that hold memory, or whose source is still read.
    pub fn release(&self) -> Result<(), StillHeld> {
        let (pooled, _) = self.hub.free_buffers();
        let of_pool = |at| pooled.iter().find(|(channel, _)| *channel == at).map_or(0, |(_, bytes)| *bytes);
        let all = self.channels().into_iter().enumerate().map(|(at, c)| Held {
            bytes: c.held_bytes.max(usize::try_from(of_pool(at)).unwrap_or(usize::MAX)),
            channel: c.name,
            reading: c.reading,
        });
        let held: Vec<Held> = all.filter(|held| held.reading || held.bytes > 0).collect();
        if held.is_empty() { Ok(()) } else { Err(StillHeld(held)) }
    }

    /// Bytes of memory that the buffers of this recorder's pool have from the system, as the system says.
    ///
    /// # Errors
    /// What the system says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.hub.resident_bytes()
    }

    /// What went wrong with the log.
    pub(crate) fn log_faults(&self) -> Vec<String> {
        self.hub.log_status().faults
    }

    /// What went wrong with the log and the sources, and what does not add up.
    /// While records are on their way to the disk, they do not add up yet.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.log_faults();
        faults.extend(self.channels().iter().flat_map(ChannelCounts::faults));
        faults
    }

    /// The whole stop, in order, until `until_ns` (monotonic) at the latest. The
    /// sources have half of that time: one that hangs leaves the log the other half.
    pub fn stop(&self, until_ns: u64) -> Ending {
        let mut faults = Vec::new();
        let now = crate::now().mono_ns;
        let captured_until = now + until_ns.saturating_sub(now) / 2;
        self.order_stop_capture(now + KILL_AFTER_NS.min((captured_until - now) / 4 * 3));
        for (channel, name) in self.channel_names().into_iter().enumerate() {
            if !self.wait_captured(channel, captured_until) {
                faults.push(format!("{name}: could not be read to its end in time"));
            }
        }
        self.order_finish();
        let finished = self.wait_finished(until_ns);
        faults.extend(self.seal_given_up());
        if !finished {
            faults.push("the log could not be ended".to_owned());
        } else if let Err(fault) = self.verify_last() {
            faults.push(fault);
        }
        faults.extend(self.faults());
        let channels = self.channels();
        let complete = faults.is_empty() && channels.iter().all(|c| c.dropped_records == 0 && c.gaps == 0);
        Ending { clean: faults.is_empty(), complete, faults, channels }
    }
}

impl Recorder {
    fn remove_no_more(&self) {
        if let Some(retention) = &self.retention {
            let _ = retention.close(Duration::ZERO);
        }
    }

    /// Ends everything at once: what is acknowledged stays, the end is not written, and
    /// commands are killed. Waits half a second at most for the log to let go, and a
    /// second for the commands.
    pub fn abandon(&self) {
        self.hub.give_order(Order::Abandon);
        self.commands.kill();
        self.remove_no_more();
        let until_ns = crate::now().mono_ns.saturating_add(DROP_NS);
        self.hub.wait_until(until_ns, |state| state.log().gone.then_some(true));
        // A reader that hangs keeps the hub, but not what is in it.
        let _ = self.hub.free_buffers();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// How long a command has between being told to end and being made to.
pub(crate) const KILL_AFTER_NS: u64 = 5_000_000_000;
/// How long a drop waits for the log to let go of the directory.
const DROP_NS: u64 = 500_000_000;
