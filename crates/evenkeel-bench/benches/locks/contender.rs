//! The same few loops over every kind of mutex.

use evenkeel_locks::{lock_order, ranked, unranked, watched, with_root};
use std::hint::black_box;

/// Two mutexes of one kind, of which the second may be taken inside of the first.
pub(crate) trait Pair: Sync {
    fn new() -> Self;
    /// Takes the first one so many times.
    fn single(&self, times: u32);
    /// Takes both so many times.
    fn nested(&self, times: u32);
    /// Takes the first one so many times, with other work between.
    fn spaced(&self, times: u32, between: impl Fn());
    /// Takes the first one once and keeps it through `work`.
    fn hold(&self, work: impl FnOnce());
}

/// A kind without capabilities.
macro_rules! plain {
    ($name:ident, $mutex:ty, $first:expr, $second:expr, |$lock:ident| $guard:expr) => {
        pub(crate) struct $name($mutex, $mutex);

        impl Pair for $name {
            fn new() -> Self {
                Self($first, $second)
            }

            #[inline(never)]
            fn single(&self, times: u32) {
                for _ in 0..times {
                    let $lock = black_box(&self.0);
                    *$guard += 1;
                }
            }

            #[inline(never)]
            fn nested(&self, times: u32) {
                for _ in 0..times {
                    let $lock = black_box(&self.0);
                    let mut first = $guard;
                    let $lock = black_box(&self.1);
                    *$guard += 1;
                    *first += 1;
                }
            }

            fn spaced(&self, times: u32, between: impl Fn()) {
                for _ in 0..times {
                    let $lock = black_box(&self.0);
                    *$guard += 1;
                    between();
                }
            }

            fn hold(&self, work: impl FnOnce()) {
                let $lock = &self.0;
                let mut guard = $guard;
                *guard += 1;
                work();
            }
        }
    };
}

lock_order! { First < Second; }

/// A kind on levels.
macro_rules! on_levels {
    ($name:ident, $mutex:ident) => {
        pub(crate) struct $name($mutex<First, u64>, $mutex<Second, u64>);

        impl Pair for $name {
            fn new() -> Self {
                Self($mutex::<First, _>::new(0), $mutex::<Second, _>::new(0))
            }

            #[inline(never)]
            fn single(&self, times: u32) {
                with_root(|root| {
                    for _ in 0..times {
                        *black_box(&self.0).lock(root) += 1;
                    }
                });
            }

            #[inline(never)]
            fn nested(&self, times: u32) {
                with_root(|root| {
                    for _ in 0..times {
                        let mut first = black_box(&self.0).lock(root);
                        let (first, held) = first.parts();
                        *black_box(&self.1).lock(held) += 1;
                        *first += 1;
                    }
                });
            }

            fn spaced(&self, times: u32, between: impl Fn()) {
                with_root(|root| {
                    for _ in 0..times {
                        *black_box(&self.0).lock(root) += 1;
                        between();
                    }
                });
            }

            fn hold(&self, work: impl FnOnce()) {
                with_root(|root| {
                    let mut guard = self.0.lock(root);
                    *guard += 1;
                    work();
                });
            }
        }
    };
}

type TypedMutex<L, T> = evenkeel_locks::Mutex<L, T>;
type WatchedMutex<L, T> = watched::Mutex<L, T>;
on_levels!(Typed, TypedMutex);
on_levels!(Watched, WatchedMutex);

const FIRST: ranked::Rank = ranked::Rank::new(1, "first");
const SECOND: ranked::Rank = ranked::Rank::new(2, "second");
plain!(Ranked, ranked::Mutex<u64>, ranked::Mutex::new(FIRST, 0), ranked::Mutex::new(SECOND, 0), |lock| lock
    .lock());
plain!(Unranked, unranked::Mutex<u64>, unranked::Mutex::new(0), unranked::Mutex::new(0), |lock| lock.lock());
plain!(Std, std::sync::Mutex<u64>, Default::default(), Default::default(), |lock| lock.lock().unwrap());

#[cfg(feature = "peers")]
mod peers {
    use super::{Pair, black_box};

    plain!(ParkingLot, parking_lot::Mutex<u64>, Default::default(), Default::default(), |lock| lock.lock());
    plain!(ParkingLot13, parking_lot_013::Mutex<u64>, Default::default(), Default::default(), |lock| lock
        .lock());
    plain!(Detecting, parking_lot_011::Mutex<u64>, Default::default(), Default::default(), |lock| lock
        .lock());
    plain!(
        Tracing,
        tracing_mutex::parkinglot::tracing::Mutex<u64>,
        Default::default(),
        Default::default(),
        |lock| lock.lock()
    );
}
#[cfg(feature = "peers")]
pub(crate) use peers::{Detecting, ParkingLot, ParkingLot13, Tracing};

/// A race of all kinds: `$turn` is given a pair of each and yields its samples.
macro_rules! race {
    ($turn:expr) => {{
        use crate::contender::{Pair, Ranked, Std, Typed, Unranked, Watched};
        fn entrant<'a, P: Pair + 'a>(turn: impl Fn(&P) -> Vec<f64> + 'a) -> impl FnMut() -> Vec<f64> + 'a {
            let pair = P::new();
            move || turn(&pair)
        }
        let race = evenkeel_bench::Race::new()
            .with_samples("typed", entrant::<Typed>(|pair| $turn(pair)))
            .with_samples("ranked", entrant::<Ranked>(|pair| $turn(pair)))
            .with_samples("unranked", entrant::<Unranked>(|pair| $turn(pair)))
            .with_samples("watched", entrant::<Watched>(|pair| $turn(pair)))
            .with_samples("std", entrant::<Std>(|pair| $turn(pair)));
        #[cfg(feature = "peers")]
        let race = {
            use crate::contender::{Detecting, ParkingLot, ParkingLot13, Tracing};
            race.with_samples("parking_lot 0.12", entrant::<ParkingLot>(|pair| $turn(pair)))
                .with_samples("parking_lot 0.13", entrant::<ParkingLot13>(|pair| $turn(pair)))
                .with_samples("parking_lot 0.11 detecting", entrant::<Detecting>(|pair| $turn(pair)))
                .with_samples("tracing-mutex", entrant::<Tracing>(|pair| $turn(pair)))
        };
        race.run()
    }};
}
pub(crate) use race;

/// One figure for each of ours, with the peers beside it, and what each is held to.
pub(crate) fn figures(
    suite: &mut evenkeel_bench::Suite,
    part: &str,
    unit: &'static str,
    samples: &evenkeel_bench::Samples,
    quantile: f64,
    goals: &[(&'static str, Option<evenkeel_bench::Goal>)],
) {
    let ours: Vec<_> = goals.iter().map(|(name, _)| *name).collect();
    for (name, goal) in goals {
        let figure = samples.quantile(name, quantile).expect("ours ran");
        let peers = samples.peers(name, quantile).filter(|(peer, _)| !ours.contains(peer));
        let figure = evenkeel_bench::Figure::lower(format!("{part}/{name}"), unit, figure).beside(peers);
        suite.add(match goal {
            Some(goal) => figure.goal(*goal),
            None => figure,
        });
    }
}
