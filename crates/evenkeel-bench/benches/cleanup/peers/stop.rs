//! Stops of tasks that wait to be told and then end, by others. The clock runs from
//! the telling to the answer that all have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use task_supervisor::{SupervisedTask, SupervisorBuilder, TaskResult};
use tokio::runtime::Runtime;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Two threads, with timers.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Tasks that have begun.
#[derive(Clone, Default)]
struct Begun(Arc<AtomicUsize>);

impl Begun {
    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until so many have, and a little, so that the last of them waits too.
    async fn all(&self, count: usize) {
        while self.0.load(Ordering::Acquire) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn task_tracker(runtime: &Runtime, count: usize) -> Duration {
    runtime.block_on(async {
        let (tracker, token, begun) = (TaskTracker::new(), CancellationToken::new(), Begun::default());
        for _ in 0..count {
            let (token, begun) = (token.clone(), begun.clone());
            tracker.spawn(async move {
                begun.one_more();
                token.cancelled().await;
            });
        }
        tracker.close();
        begun.all(count).await;
        let began = Instant::now();
        token.cancel();
        tracker.wait().await;
        began.elapsed()
    })
}

pub(crate) fn graceful_shutdown(runtime: &Runtime, count: usize) -> Duration {
    runtime.block_on(async {
        let (token, begun) = (CancellationToken::new(), Begun::default());
        let theirs = begun.clone();
        let start = async move |parent: &mut SubsystemHandle| {
            for at in 0..count {
                let begun = theirs.clone();
                let subsystem = async move |own: &mut SubsystemHandle| {
                    begun.one_more();
                    own.on_shutdown_requested().await;
                    Ok::<(), std::io::Error>(())
                };
                parent.start(SubsystemBuilder::new(format!("step-{at}"), subsystem));
            }
        };
        let top: Toplevel = Toplevel::new_with_shutdown_token(start, token.clone());
        let over = tokio::spawn(top.handle_shutdown_requests(Duration::from_secs(300)));
        begun.all(count).await;
        let began = Instant::now();
        token.cancel();
        over.await.unwrap().unwrap();
        began.elapsed()
    })
}

#[derive(Clone)]
struct Waiting(Begun);

impl SupervisedTask for Waiting {
    async fn run(self, cancel: task_supervisor::CancellationToken) -> TaskResult {
        self.0.one_more();
        cancel.cancelled().await;
        Ok(())
    }
}

pub(crate) fn task_supervisor(runtime: &Runtime, count: usize) -> Duration {
    runtime.block_on(async {
        let begun = Begun::default();
        let mut builder = SupervisorBuilder::new();
        for at in 0..count {
            builder = builder.with_task(&format!("step-{at}"), Waiting(begun.clone()));
        }
        let supervisor = builder.spawn();
        begun.all(count).await;
        let began = Instant::now();
        supervisor.shutdown().await.unwrap();
        began.elapsed()
    })
}
