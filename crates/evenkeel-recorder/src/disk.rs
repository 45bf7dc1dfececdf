//! `ek-disk` runs the log's syncs and seals.

use crate::hub::Hub;
use evenkeel::threads::{Class, ThreadCoordinator, ThreadHandle};
use evenkeel_log::Job;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Jobs under way at once: a sync, or the three of a rotation, and the end's two.
const JOBS_MAX: usize = 8;

/// `ek-disk`, from the side that gives it jobs.
pub(crate) struct Disk {
    jobs: SyncSender<Job>,
    thread: ThreadHandle<()>,
}

impl Disk {
    pub(crate) fn start(threads: &ThreadCoordinator, hub: Arc<Hub>) -> io::Result<Self> {
        let (sender, jobs): (_, Receiver<Job>) = sync_channel(JOBS_MAX);
        let builder = threads.thread("ek-disk").class(Class::System).stack_bytes(256 << 10).kept();
        let thread = builder.start(move |pulse| {
            while let Ok(job) = pulse.waiting(|| jobs.recv()) {
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
