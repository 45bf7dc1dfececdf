//! Where buffers come from, each under one trait, so that all do the same.

use crate::sys::touch;
use evenkeel_bench::{Figure, Goal, Samples, Suite};
use evenkeel_pool::{Account, Buffer, Limits, Pool};

/// Ours in every race.
pub(crate) const OURS: &str = "evenkeel";
/// Ours once more: noise.
pub(crate) const AGAIN: &str = "itself again";
/// Those that the larger tiers are held to.
const ALLOCATORS: [&str; 3] = ["malloc", "mimalloc", "jemalloc"];

/// A tier: its name in figures, bytes of a buffer.
pub(crate) type Tier = (&'static str, usize);
pub(crate) const TIERS: [Tier; 3] = [("4k", 4 << 10), ("64k", 64 << 10), ("1m", 1 << 20)];

const MANY_BYTES: u64 = 1 << 40;

/// Buffers of one size.
pub(crate) trait Source: Sync {
    /// One of them; dropping gives it back.
    type Held<'a>: Send
    where
        Self: 'a;

    fn new(bytes: usize) -> Self;
    fn take(&self) -> Self::Held<'_>;
    /// Writes a byte of each page.
    fn touch(held: &mut Self::Held<'_>);
}

/// A pool as it is by default, and a component of a channel with a reserve in it.
pub(crate) struct Evenkeel {
    account: Account,
    bytes: usize,
}

impl Source for Evenkeel {
    type Held<'a> = Buffer;

    fn new(bytes: usize) -> Self {
        let limits = Limits { reserve: vec![16, 16, 16], ..Limits::default() };
        let channel = Pool::builder().build().unwrap().channel("channel", &limits).unwrap();
        Self { account: channel.component("component", MANY_BYTES).unwrap(), bytes }
    }

    #[inline]
    fn take(&self) -> Buffer {
        self.account.take(self.bytes).unwrap()
    }

    #[inline]
    fn touch(held: &mut Buffer) {
        touch(held.spare_mut());
    }
}

/// What an allocator gives.
pub(crate) struct Allocated<A>(A, usize);

impl<A: crate::sys::Allocator> Source for Allocated<A> {
    type Held<'a>
        = crate::sys::Block<'a, A>
    where
        A: 'a;

    fn new(bytes: usize) -> Self {
        Self(A::IT, bytes)
    }

    #[inline]
    fn take(&self) -> Self::Held<'_> {
        crate::sys::Block::of(&self.0, self.1)
    }

    #[inline]
    fn touch(held: &mut Self::Held<'_>) {
        held.touch();
    }
}

/// A race of all sources: `$turn` is given each, made for buffers of `$bytes`, and yields its samples; `$alone` yields
/// those of touching alone.
macro_rules! race {
    ($bytes:expr, $turn:expr, $alone:expr) => {{
        use crate::contender::{AGAIN, Allocated, Evenkeel, OURS, Source};
        fn entrant<'a, S: Source + 'a>(
            bytes: usize,
            turn: impl Fn(&S) -> Vec<f64> + 'a,
        ) -> impl FnMut() -> Vec<f64> + 'a {
            let source = S::new(bytes);
            move || turn(&source)
        }
        let bytes = $bytes;
        let race = evenkeel_bench::Race::new()
            .with_samples(OURS, entrant::<Evenkeel>(bytes, |source| $turn(source)))
            .with_samples(AGAIN, entrant::<Evenkeel>(bytes, |source| $turn(source)))
            .with_samples("touching alone", $alone)
            .with_samples("malloc", entrant::<Allocated<std::alloc::System>>(bytes, |source| $turn(source)));
        #[cfg(feature = "peers")]
        let race = {
            use crate::peers::{ArrayQueue, Jemalloc, Mimalloc, ObjectPool, Opool};
            race.with_samples("mimalloc", entrant::<Allocated<Mimalloc>>(bytes, |source| $turn(source)))
                .with_samples("jemalloc", entrant::<Allocated<Jemalloc>>(bytes, |source| $turn(source)))
                .with_samples("object-pool", entrant::<ObjectPool>(bytes, |source| $turn(source)))
                .with_samples("opool", entrant::<Opool>(bytes, |source| $turn(source)))
                .with_samples("ArrayQueue", entrant::<ArrayQueue>(bytes, |source| $turn(source)))
        };
        race.run()
    }};
}
pub(crate) use race;

/// The allocator that is fastest of those that ran.
pub(crate) fn fastest(samples: &Samples, quantile: f64) -> &'static str {
    let ran = ALLOCATORS.iter().filter_map(|name| Some((*name, samples.quantile(name, quantile)?)));
    ran.min_by(|(_, one), (_, other)| one.total_cmp(other)).expect("malloc ran").0
}

/// Adds the medians of a part's race for a tier: the small one is held to a time, the others to the fastest allocator.
pub(crate) fn add(
    suite: &mut Suite,
    part: &str,
    (name, bytes): Tier,
    samples: &Samples,
    ns_max: Option<f64>,
) {
    let figure = Figure::of(format!("{part}/{name}"), "ns", samples, OURS, 0.5);
    suite.add(match ns_max {
        Some(limit) if bytes == TIERS[0].1 => figure.goal(Goal::Below(limit)),
        None if bytes == TIERS[0].1 => figure,
        _ => figure.goal(Goal::RatioAtMost(fastest(samples, 0.5), 1.0)),
    });
}
