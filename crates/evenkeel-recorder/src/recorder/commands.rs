//! The commands of a recorder: run by `ek-exec`, read by `ek-capture`.

use super::StartError;
use crate::capture::Arrival;
use crate::children::{Children, Exec, Happened, end_leftovers};
use crate::config::{ChannelConfig, Source};
use crate::hub::{Hub, Order, Reading, Trouble};
use evenkeel::journal::{DIR_NAME, Journal};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::storage::DirStorage;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long what an earlier recorder left running has between being told to end and being made to.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(2);

/// The handle of `ek-exec`, once it runs.
#[derive(Clone, Default)]
pub(super) struct Commands(Arc<OnceLock<Children>>);

impl Commands {
    /// All output of a command is handed over.
    pub(super) fn output_ended(&self, child: u64) {
        self.0.get().into_iter().for_each(|children| children.output_ended(child));
    }

    /// Ends all of them, at `kill_at_ns` (monotonic) by force.
    pub(super) fn stop(&self, kill_at_ns: u64) {
        self.0.get().into_iter().for_each(|children| children.stop(kill_at_ns));
    }

    /// Ends all of them at once, by force; waits a second at most.
    pub(super) fn kill(&self) {
        self.0.get().into_iter().for_each(Children::kill);
    }

    /// Starts them. Before that nobody reads: what they tell waits in `arrivals`.
    pub(super) fn start(
        &self,
        threads: &ThreadCoordinator,
        hub: &Arc<Hub>,
        channels: &[ChannelConfig],
        (journal, run_id): (Option<Journal>, [u8; 16]),
        arrivals: SyncSender<Arrival>,
    ) -> Result<(), StartError> {
        let exec = |(channel, of): (usize, &ChannelConfig)| match &of.source {
            Source::Exec(command) => {
                Some(Exec { channel, name: of.name.clone(), command: command.clone(), restart: of.restart })
            }
            _ => None,
        };
        let execs: Vec<Exec> = channels.iter().enumerate().filter_map(exec).collect();
        if execs.is_empty() {
            return Ok(());
        }
        let reading = Reading::begin(hub.clone(), execs.iter().map(|exec| exec.channel).collect());
        let hub = hub.clone();
        let commands = self.clone();
        let tell = move |happened| {
            // With the thread that tells, whatever happens to it, the reading ends.
            let _ = &reading;
            commands.told(&hub, &arrivals, happened);
        };
        let children = Children::start(threads, execs, journal, run_id, tell).map_err(StartError::Thread)?;
        let set = self.0.set(children);
        assert!(set.is_ok(), "invariant: commands are started once");
        Ok(())
    }
}

/// What the readers are told on the way. Of each channel at most two words wait, that its command
/// runs and that it is cut off: it is run again only when its output was handed over.
pub(super) fn arrivals(channels: usize) -> (SyncSender<Arrival>, Receiver<Arrival>) {
    sync_channel(2 * channels)
}

impl Commands {
    fn told(&self, hub: &Hub, arrivals: &SyncSender<Arrival>, happened: Happened) {
        match happened {
            Happened::Output { channel, child, stdout } => {
                let sent = arrivals.try_send(Arrival::Output { channel, child, fd: stdout });
                // Whoever reads leaves when the intake is closed, and looks at what has arrived
                // only after that: what comes later is heard by nobody.
                if sent.is_err() || hub.order() >= Order::Finish {
                    self.output_ended(child);
                }
            }
            Happened::CutOff { child } => _ = arrivals.try_send(Arrival::CutOff { child }),
            Happened::Unjournalled { channel, why } => {
                hub.note_fault(channel, Trouble::of_journal(why), false);
            }
            Happened::Failed { channel, fault, after } => {
                let fault = format!("{fault}; it is run again after {after:?}");
                hub.note_fault(channel, Trouble::of_command(fault), true);
            }
            Happened::Restarted { channel } => hub.note_restart(channel),
            // It was to be run again, and nothing it said is lost: a stop that comes then is none.
            Happened::Over { channel, by_itself: false, .. } if hub.is_restarting(channel) => {
                hub.read_no_more(channel);
            }
            Happened::Over { channel, fault, by_itself } => {
                if by_itself || fault.is_some() {
                    hub.source_ended(channel, fault.map(Trouble::of_command));
                }
                hub.read_no_more(channel);
            }
        }
        hub.wake_capture();
    }
}

/// Ends what an earlier recorder left running, and puts that into the journal. Answers
/// what there was, a line each.
pub(super) fn end_those_left(dir: &Path, journal: &Journal) -> Vec<String> {
    let storage = match DirStorage::open(&dir.join(DIR_NAME)) {
        Ok(storage) => storage,
        Err(e) => return vec![format!("what an earlier run left running is not known: {e}")],
    };
    let (left, unread) = end_leftovers(&storage, LEFTOVER_PATIENCE);
    for leftover in &left {
        let (kind, body) = leftover.entry();
        let _ = journal.append(kind, leftover.channel.as_deref(), body);
    }
    let there = left.iter().filter(|leftover| leftover.was_there()).map(ToString::to_string);
    there.chain(unread).collect()
}
