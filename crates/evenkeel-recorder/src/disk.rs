//! `ek-disk` runs the log's syncs and seals.

use crate::hub::Hub;
use evenkeel_log::Job;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Jobs under way at once: a sync, or the three of a rotation, and the end's two.
const JOBS_MAX: usize = 8;

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
