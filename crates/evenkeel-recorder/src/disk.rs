//! `ek-disk` runs the log's syncs and seals; `ek-readback` reads sealed
//! segments again and checks every byte.

use crate::hub::Hub;
use evenkeel_log::storage::Storage;
use evenkeel_log::{Job, verify_segment};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Jobs under way at once: a sync, or the three of a rotation, and the end's two.
const JOBS_MAX: usize = 8;
/// Segments waiting to be read back; more are only noted as not read back.
const READBACKS_MAX: usize = 64;

/// Starts `ek-disk`; it ends when the sender is dropped.
pub(crate) fn start_disk(hub: Arc<Hub>) -> io::Result<SyncSender<Job>> {
    let (sender, jobs): (_, Receiver<Job>) = sync_channel(JOBS_MAX);
    std::thread::Builder::new().name("ek-disk".to_owned()).stack_size(256 << 10).spawn(move || {
        for job in jobs {
            hub.job_done(job.run());
        }
    })?;
    Ok(sender)
}

/// Starts `ek-readback`; it ends when the sender is dropped.
pub(crate) fn start_readback(hub: Arc<Hub>, storage: Arc<dyn Storage>) -> io::Result<SyncSender<String>> {
    let (sender, names): (_, Receiver<String>) = sync_channel(READBACKS_MAX);
    std::thread::Builder::new().name("ek-readback".to_owned()).stack_size(256 << 10).spawn(move || {
        for name in names {
            if let Err(fault) = read_back(&*storage, &name) {
                hub.update_log(|log| log.faults.push(fault));
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
