//! The pools of others.

use crate::pool::Pool;
use tokio::runtime::Runtime;

pub(crate) struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    fn new(workers: usize) -> Self {
        Self(rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap())
    }

    fn give(&self, job: impl FnOnce() + Send + 'static) {
        self.0.spawn(job);
    }
}

pub(crate) struct Threadpool(threadpool::ThreadPool);

impl Pool for Threadpool {
    fn new(workers: usize) -> Self {
        Self(threadpool::ThreadPool::new(workers))
    }

    fn give(&self, job: impl FnOnce() + Send + 'static) {
        self.0.execute(job);
    }
}

/// Its threads for what blocks; the runtime itself runs on whoever waits.
pub(crate) struct Tokio(Runtime);

impl Pool for Tokio {
    fn new(workers: usize) -> Self {
        Self(tokio::runtime::Builder::new_current_thread().max_blocking_threads(workers).build().unwrap())
    }

    fn give(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.0.spawn_blocking(job));
    }

    fn ask(&self) {
        self.0.block_on(async { tokio::task::spawn_blocking(|| ()).await }).unwrap();
    }
}
