//! `ek-readback` reads the segments that were sealed on the way again and checks every byte.
//!
//! It has what the recording leaves of the disk: while readers have to wait for memory,
//! because the disk is the slowest of all, it pauses for several times as long as it
//! reads. What it has no time for goes without, and is counted as unread: at a stop,
//! which reads only the last segment, and when a flood goes on and on. `verify` reads it.

use crate::hub::{Hub, Order, SURPLUS_BYTES};
use crate::retention::Keeper;
use evenkeel::faults::{Code, Severity};
use evenkeel::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_log::storage::Storage;
use evenkeel_log::{ReadBack, SealedSegment, read_back, verify_segment};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Segments waiting to be read back; more go without.
const WAITING_MAX: usize = 8;
/// Less free memory than this says that readers wait for the disk.
const SCARCE_BYTES: isize = (SURPLUS_BYTES / 2).cast_signed();
/// A pause beside a flood, in times of the reading before it.
const PAUSE_SHARE: u32 = 8;
/// No pause is longer: a stop does not wait for its end, but a directory may.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The thread, from the side of the log.
pub(crate) struct Readback {
    sealed: SyncSender<SealedSegment>,
    hub: Arc<Hub>,
    retention: Option<Arc<Keeper>>,
}

impl Readback {
    /// Starts the thread; it ends when this is dropped.
    pub(crate) fn start(
        threads: &ThreadCoordinator,
        hub: Arc<Hub>,
        storage: Arc<dyn Storage>,
        retention: Option<Arc<Keeper>>,
    ) -> io::Result<Self> {
        let (sender, sealed) = sync_channel(WAITING_MAX);
        let reader = Reader { hub: hub.clone(), storage, retention: retention.clone() };
        let builder = threads.thread("ek-readback").class(Class::Monitoring).stack_bytes(256 << 10).kept();
        builder.start(move |pulse| reader.run(pulse, &sealed))?;
        Ok(Self { sealed: sender, hub, retention })
    }

    /// Takes a segment that was sealed on the way.
    pub(crate) fn sealed(&self, segment: SealedSegment) {
        self.hub.update_log(|log| log.unread += 1);
        if let Err(TrySendError::Full(segment) | TrySendError::Disconnected(segment)) =
            self.sealed.try_send(segment)
            && let Some(retention) = &self.retention
        {
            // It is not read, and may be removed for that.
            retention.sealed(segment.number);
        }
    }
}

struct Reader {
    hub: Arc<Hub>,
    storage: Arc<dyn Storage>,
    retention: Option<Arc<Keeper>>,
}

impl Reader {
    fn run(self, pulse: &Pulse<'_>, sealed: &Receiver<SealedSegment>) {
        while let Ok(segment) = pulse.waiting(|| sealed.recv()) {
            match self.read(pulse, &segment) {
                Ok(ReadBack::GivenUp) => {}
                Ok(ReadBack::Differs(how)) => {
                    self.tell(Some((Code::STORAGE_DAMAGED, self.place_of(&segment, &how))));
                }
                // Old enough to be removed before it was its turn.
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.retention.is_some() => self.tell(None),
                Err(e) => self.tell(Some((Code::STORAGE, format!("reading {} back: {e}", segment.name)))),
                Ok(_) => self.tell(None),
            }
            if let Some(retention) = &self.retention {
                retention.sealed(segment.number);
            }
        }
    }

    fn tell(&self, fault: Option<(Code, String)>) {
        if let Some((code, text)) = &fault {
            self.hub.report_log(*code, Severity::Error, text);
        }
        self.hub.update_log(|log| {
            log.faults.extend(fault.map(|(_, text)| text));
            log.unread -= 1;
        });
    }

    /// Reads while nobody stops, beside a flood with pauses.
    fn read(&self, pulse: &Pulse<'_>, segment: &SealedSegment) -> io::Result<ReadBack> {
        let mut resumed = Instant::now();
        read_back(&*self.storage, segment, &mut || {
            if self.hub.take_surplus_low() < SCARCE_BYTES {
                std::thread::sleep((resumed.elapsed() * PAUSE_SHARE).min(PAUSE_MAX));
            }
            resumed = Instant::now();
            pulse.beat();
            self.hub.order() == Order::Run
        })
    }

    /// Where a segment is damaged, if that can be found out.
    fn place_of(&self, segment: &SealedSegment, how: &str) -> String {
        let name = &segment.name;
        let place = check_segment(&*self.storage, name).err();
        place.unwrap_or_else(|| format!("{name} read back wrong: {how}"))
    }
}

/// Checks all of a sealed segment, and what its records mean; the error says what is wrong, and where.
pub(crate) fn check_segment(storage: &dyn Storage, name: &str) -> Result<(), String> {
    let report = verify_segment(storage, name).map_err(|e| format!("reading {name} back: {e}"))?;
    match report.damage.first() {
        None => Ok(()),
        Some(damage) => Err(format!("{name} read back wrong at byte {}: {}", damage.from, damage.reason)),
    }
}
