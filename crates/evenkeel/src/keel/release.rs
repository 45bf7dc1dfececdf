//! What components hold is released when the service stops: those that need others before what they need.
//!
//! ```text
//! ReleasingResources   release/left/mic     it takes nothing more, and has given everything back
//!                      release/right/codec  the same, after all that need it, of whatever channel
//!                      release-pool         nobody holds anything, and the memory is the system's again
//! ```
//!
//! A component has its step from its first account on. Nothing can be taken out of anybody's hands: a step waits a moment, and its
//! verification names who still holds what.

use crate::cleanup::{CleanupCoordinator, Phase, Step, StepBuilder};
use crate::components::{ComponentCoordinator, Needs};
use crate::resources::{
    Account, Admission, Alert, HOUSE, HasResources, PoolWatch, ResourceManager, ResourcePool, ResourceView,
    SHARED,
};
use crate::threads::ThreadCoordinator;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The last of the steps.
const POOL: &str = "release-pool";
/// What is given back by another step of the same phase is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(1);
/// What one step may take.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The name of a component's step.
fn step_of(channel: Option<&str>, component: &str) -> String {
    match channel {
        Some(channel) => format!("release/{channel}/{component}"),
        None => format!("release/{component}"),
    }
}

/// Has every component that takes from the pool released by a step of its own, and the pool watched from the first of them on.
pub(super) fn watch_over(
    pool: &ResourcePool,
    components: &ComponentCoordinator,
    cleanup: &CleanupCoordinator,
    (threads, tell): (&ThreadCoordinator, impl Fn(Alert) + Send + Sync + 'static),
) {
    let (needs, cleanup, all) = (components.needs(), cleanup.clone(), pool.downgrade());
    let watch = PoolWatch::new(pool);
    let look: Arc<dyn Fn() + Send + Sync> = Arc::new(move || watch.look().into_iter().for_each(&tell));
    let (threads, is_watched) = (threads.clone(), AtomicBool::new(false));
    pool.on_admitted(move |channel, component, Admission { account, is_of_service }| {
        if channel != HOUSE
            && let Some(pool) = all()
        {
            if !is_watched.swap(true, Relaxed) {
                threads.each_second(&look);
            }
            if !is_of_service {
                register(&pool, &needs, &cleanup, (channel, component, account));
            }
        }
    });
}

fn register(
    pool: &ResourcePool,
    needs: &Needs,
    cleanup: &CleanupCoordinator,
    (channel, component, account): (&str, &str, &Account),
) {
    let of = (channel != SHARED).then_some(channel);
    let (needed, needed_by) = needs.of(of, component);
    let name = step_of(of, component);
    let mut step = begin(cleanup, &name, of);
    let steps = |keys: Vec<(Option<String>, String)>| {
        let names = keys.into_iter().map(|(channel, name)| step_of(channel.as_deref(), &name));
        names.filter(|name| cleanup.has(name)).collect::<Vec<_>>()
    };
    for later in steps(needed_by) {
        step = step.after(later);
    }
    let view = |pool: &ResourcePool| {
        let own = (channel.to_owned(), component.to_owned());
        let within = move |channel: &str, component: &str| (channel, component) == (&*own.0, &*own.1);
        ResourceView::of(pool.clone(), "its step", within)
    };
    let (closes, waits, checks) = (account.clone(), Slice(view(pool)), Slice(view(pool)));
    // Refused only once the stop has begun: what is taken then is released by whoever takes it.
    let registered = step
        .run_blocking(move |step: Step| {
            closes.lower_bytes_max(0);
            wait(&step, &waits);
        })
        .verify_blocking(move |_| checks.verify_cleanup())
        .register();
    if registered.is_err() {
        return;
    }
    for earlier in steps(needed) {
        cleanup.add_dependency(&earlier, &name);
    }
    register_pool(pool, cleanup);
    cleanup.add_dependency(POOL, &name);
}

fn begin(cleanup: &CleanupCoordinator, name: &str, channel: Option<&str>) -> StepBuilder {
    StepBuilder::new(cleanup.clone(), name.to_owned(), channel.map(str::to_owned))
        .phase(Phase::ReleasingResources)
        .timeout(TIMEOUT)
        .expected(Duration::from_millis(1))
        .idempotent()
}

/// The last step, once.
fn register_pool(pool: &ResourcePool, cleanup: &CleanupCoordinator) {
    if cleanup.has(POOL) {
        return;
    }
    let all = || Slice(ResourceView::all(pool.clone(), "its step"));
    let (waits, checks, gives_back) = (all(), all(), pool.clone());
    // Two that come at once register it once.
    let _ = begin(cleanup, POOL, None)
        .run_blocking(move |step: Step| wait(&step, &waits))
        .verify_blocking(move |_| {
            checks.verify_cleanup().map_err(|held| held.to_string())?;
            let given = gives_back.shrink().map_err(|error| error.to_string())?;
            match given.resident_after {
                0 => Ok(()),
                bytes => Err(format!("{bytes} bytes of the pool are in memory, and nobody holds any")),
            }
        })
        .register();
}

/// Waits a moment until nothing of a slice is held.
fn wait(step: &Step, slice: &Slice) {
    let until = Instant::now() + PATIENCE.min(step.remaining().mul_f32(0.5));
    while slice.verify_cleanup().is_err() && Instant::now() < until && !step.wait_cancelled(LOOK) {}
}

struct Slice(ResourceView);

impl HasResources for Slice {
    fn resource_view(&self) -> ResourceView {
        self.0.clone()
    }
}
