//! `ek-disk` runs the log's syncs and seals; `ek-readback` reads sealed
//! segments again and checks every byte.

use crate::hub::Hub;
use crate::retention::Keeper;
use evenkeel_log::storage::Storage;
use evenkeel_log::{Job, SealedSegment, verify_segment};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Jobs under way at once: a sync, or the three of a rotation, and the end's two.
const JOBS_MAX: usize = 8;
/// Segments waiting to be read back; more go without.
const READBACKS_MAX: usize = 64;

/// `ek-disk`, from the side that gives it jobs.
pub(crate) struct Disk {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl Disk {
    pub(crate) fn start(hub: Arc<Hub>) -> io::Result<Self> {
        let (sender, jobs): (_, Receiver<Job>) = sync_channel(JOBS_MAX);
        let builder = std::thread::Builder::new().name("ek-disk".to_owned()).stack_size(256 << 10);
        let thread = builder.spawn(move || {
            for job in jobs {
                hub.job_done(job.run());
            }
        })?;
        Ok(Self { jobs: sender, thread })
    }

    /// Gives it a job; `false` when the thread is gone.
    pub(crate) fn run(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// Waits until the job under way is done: only then is nobody at the directory.
    pub(crate) fn close(self) {
        drop(self.jobs);
        // A panic in it has been printed, and the job it had was never acknowledged.
        let _ = self.thread.join();
    }
}

/// Starts `ek-readback`; it ends when the sender is dropped.
pub(crate) fn start_readback(
    hub: Arc<Hub>,
    storage: Arc<dyn Storage>,
    retention: Option<Arc<Keeper>>,
) -> io::Result<SyncSender<SealedSegment>> {
    let (sender, sealed): (_, Receiver<SealedSegment>) = sync_channel(READBACKS_MAX);
    std::thread::Builder::new().name("ek-readback".to_owned()).stack_size(256 << 10).spawn(move || {
        for SealedSegment { number, name, .. } in sealed {
            let fault = read_back(&*storage, &name).err();
            hub.update_log(|log| {
                log.faults.extend(fault);
                log.unread -= 1;
            });
            if let Some(retention) = &retention {
                retention.sealed(number);
            }
        }
    })?;
    Ok(sender)
}

/// Checks a sealed segment; the error says what is wrong, and where.
pub(crate) fn read_back(storage: &dyn Storage, name: &str) -> Result<(), String> {
    let report = verify_segment(storage, name).map_err(|e| format!("reading {name} back: {e}"))?;
    match report.damage.first() {
        None => Ok(()),
        Some(damage) => Err(format!("{name} read back wrong at byte {}: {}", damage.from, damage.reason)),
    }
}
