//! A pool under random load: what it takes from the system stays what it was, and all of it comes back.
//!
//! Short, it runs with fixed counts. `cargo xtask soak pool` runs it for as long as it is told, in release, by
//! `EVENKEEL_SOAK_SECONDS`, from `EVENKEEL_SOAK_SEED`.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![allow(clippy::print_stdout, reason = "what was found is shown to whoever asked for it")]

mod load;
mod resident;
mod trend;

use evenkeel_pool::{Account, Channel, Limits, Pool};
use fastrand::Rng;
use load::Load;
use std::fmt::{Display, Write as _};
use std::time::{Duration, Instant};
use trend::Trend;

const MANY_BYTES: u64 = 1 << 40;
/// Reserves of the channels, of each tier; the first two borrow all that is left.
const RESERVES: [[u32; 3]; 6] =
    [[0, 0, 0], [20, 10, 5], [60, 30, 15], [100, 40, 10], [40, 40, 20], [10, 0, 1]];
/// Every so many waves there are more threads at once than a pool tells apart.
const CROWD_EVERY: u64 = 16;
const CROWD: u64 = 80;
/// Every so many waves all is given back.
const REST_EVERY: u64 = 8;
/// One a second: a day and more.
const SAMPLES_MAX: usize = 100_000;
/// What may stay resident of a pool that is gone, of what it had: stacks of threads, the allocator's.
const LEFT_SHARE: f64 = 0.05;

/// How long, and how exactly it is judged.
struct Plan {
    seed: u64,
    /// In place of the waves.
    lasts: Option<Duration>,
    warm_up_waves: u64,
    waves: u64,
    /// Growth that is none, whatever the noise: of the process, not of the pool.
    slack_bytes: f64,
}

impl Plan {
    fn of_environment() -> Self {
        let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().unwrap());
        let seed = number("EVENKEEL_SOAK_SEED").unwrap_or(1);
        match number("EVENKEEL_SOAK_SECONDS") {
            None => Self { seed, lasts: None, warm_up_waves: 12, waves: 36, slack_bytes: 2e6 },
            Some(seconds) => Self {
                seed,
                lasts: Some(Duration::from_secs(seconds)),
                warm_up_waves: 0,
                waves: 0,
                slack_bytes: 65_536.0,
            },
        }
    }

    /// A tenth of the time, or its waves.
    fn is_warm(&self, waves: u64, began: Instant) -> bool {
        self.lasts.map_or(waves >= self.warm_up_waves, |lasts| began.elapsed() >= lasts / 10)
    }

    fn is_over(&self, waves: u64, began: Instant) -> bool {
        self.lasts.map_or(waves >= self.waves, |lasts| began.elapsed() >= lasts)
    }

    /// Each second; without a time, each wave.
    fn is_due(&self, samples: &[(f64, f64)], now: f64) -> bool {
        self.lasts.is_none() || samples.last().is_none_or(|(before, _)| now - before >= 1.0)
    }
}

/// What was found, line by line, and what of it must not be.
#[derive(Default)]
struct Findings {
    table: String,
    broken: Vec<String>,
}

impl Findings {
    fn say(&mut self, what: &str, figure: impl Display) {
        writeln!(self.table, "{what:<34} {figure}").unwrap();
    }

    fn must(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.broken.push(what.into());
        }
    }
}

fn channels(pool: &Pool) -> Vec<Channel> {
    let channel = |(at, reserve): (usize, &[u32; 3])| {
        let limits = Limits { reserve: reserve.to_vec(), ..Limits::default() };
        pool.channel(&format!("channel-{at}"), &limits).unwrap()
    };
    RESERVES.iter().enumerate().map(channel).collect()
}

/// All buffers of the pool at once, written all over; how many of each tier. Whoever took all could not if a single one
/// were lost, kept by somebody, or paid for by nobody.
fn take_all(pool: &Pool, accounts: &[Account]) -> Vec<usize> {
    let mut held = Vec::new();
    let count = |bytes: usize| {
        let before = held.len();
        for account in accounts {
            held.extend(std::iter::from_fn(|| account.take(bytes).ok()));
        }
        held[before..].iter_mut().for_each(|buffer| buffer.spare_mut().fill(1));
        held.len() - before
    };
    pool.tiers().iter().map(|tier| tier.bytes).map(count).collect()
}

fn wave(load: &Load, rng: &mut Rng, waves: u64) {
    if waves % CROWD_EVERY == CROWD_EVERY - 1 {
        load.wave(rng, CROWD, 40);
    } else {
        let threads = rng.u64(1..=8);
        let operations = rng.u64(100..1_000);
        load.wave(rng, threads, operations);
    }
    if waves % REST_EVERY == REST_EVERY - 1 {
        load.rest();
    }
}

/// Lets waves come until it is over; seconds, or waves, and resident bytes since it is warm.
fn run(plan: &Plan, load: &Load) -> Vec<(f64, f64)> {
    let (mut rng, mut waves) = (Rng::with_seed(plan.seed), 0);
    // Written to before, or the samples themselves would grow.
    let mut samples = vec![(1.0, 1.0); SAMPLES_MAX];
    samples.clear();
    let (began, mut told) = (Instant::now(), 0);
    while !plan.is_over(waves, began) {
        wave(load, &mut rng, waves);
        waves += 1;
        let now = began.elapsed().as_secs_f64();
        if plan.is_warm(waves, began) && plan.is_due(&samples, now) && samples.len() < SAMPLES_MAX {
            samples.push((plan.lasts.map_or(waves as f64, |_| now), resident::bytes()));
        }
        if plan.lasts.is_some() && now as u64 / 60 > told {
            told = now as u64 / 60;
            println!("after {told} min: {waves} waves, {:.1} MiB resident", mib(resident::bytes()));
        }
    }
    samples
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn judge_growth(findings: &mut Findings, plan: &Plan, samples: &[(f64, f64)]) {
    let Some(trend) = Trend::of(samples) else {
        return findings.must(false, "there are too few samples to tell growth");
    };
    let Trend { per_second, low, high, noise, .. } = trend;
    let seconds = samples.last().map_or(0.0, |last| last.0 - samples[0].0);
    let grown = per_second * seconds;
    let unit = if plan.lasts.is_some() { "s" } else { "waves" };
    findings.say("samples of what is resident", format!("{} over {seconds:.0} {unit}", samples.len()));
    if plan.lasts.is_some() {
        let [slope, low, high] = [per_second, low, high].map(|slope| slope * 3600.0 / 1e6);
        findings.say("growth, MB/h (95 % interval)", format!("{slope:+.3} ({low:+.3} to {high:+.3})"));
    }
    findings.say("growth, bytes in all", format!("{grown:+.0}"));
    findings.say("noise of a sample, bytes", format!("{noise:.0} (median distance from the line, x 1.48)"));
    let grows = low > 0.0 && grown > (3.0 * noise).max(plan.slack_bytes);
    findings.must(!grows, format!("resident memory grows: {grown:.0} bytes in {seconds:.0} {unit}"));
}

/// What the pool says is back.
fn judge_return(findings: &mut Findings, pool: &Pool, load: &Load) {
    load.rest();
    findings.table.push_str(&load.said());
    findings.must(load.damaged() == 0, "a buffer held what its holder had not written");
    let held = pool.holders();
    findings.say("held at the end", held.len());
    findings.must(held.is_empty(), format!("not given back: {held:?}"));
    let all: Vec<_> = pool.tiers().iter().map(|tier| tier.slots as usize).collect();
    let taken = take_all(pool, load.accounts());
    findings.say("slots that can be taken at once", format!("{taken:?} of {all:?}"));
    findings.must(taken == all, "not every slot can be taken: memory is fragmented or lost");
}

/// What the system says is back: of all the pool's memory first, then of what is left when it is gone.
fn judge_reclaimed(findings: &mut Findings, pool: Pool, load: Load, channels: Vec<Channel>, at_start: f64) {
    let bytes: f64 = pool.tiers().iter().map(|tier| tier.bytes as f64 * f64::from(tier.slots)).sum();
    let warm = resident::bytes();
    findings.must(warm - at_start > 0.95 * bytes, "what was written to is not seen as resident");
    let reclaimed = pool.shrink().unwrap();
    let shrunk = resident::bytes();
    let counted: u64 =
        channels.iter().map(|channel| channel.usage().bytes).map(|of| of.own + of.borrowed).sum();
    findings.say("bytes still counted as somebody's", counted);
    findings.must(counted == 0, format!("{counted} bytes are counted as somebody's, and nobody holds any"));
    let (before, after) = (reclaimed.resident_before, reclaimed.resident_after);
    findings.say("the pool's memory, before and shrunk", format!("{before}, {after} bytes"));
    findings.must(after == 0, format!("{after} bytes of the pool stay resident"));
    drop((load, channels, pool));
    let gone = resident::bytes();
    let figures = [at_start, warm, shrunk, gone].map(|bytes| format!("{:.1}", mib(bytes))).join(", ");
    findings.say("resident: start, end, shrunk, gone", format!("{figures} MiB"));
    for left in [shrunk - at_start, gone - at_start] {
        findings.must(
            left < LEFT_SHARE * bytes,
            format!("{:.1} MiB did not come back of {:.1}", mib(left), mib(bytes)),
        );
    }
}

// REQ R4, REQ R7, REQ R8
#[cfg_attr(miri, ignore = "thousands of rounds, a clock, and what is resident")]
#[test]
fn whatever_happens_memory_stays_and_all_of_it_comes_back() {
    let plan = Plan::of_environment();
    let at_start = resident::bytes();
    let pool = Pool::builder().build().unwrap();
    let channels = channels(&pool);
    let accounts = channels.iter().map(|channel| channel.component("worker", MANY_BYTES).unwrap());
    let load = Load::new(accounts.collect());
    let mut findings = Findings::default();
    findings.say("seed", plan.seed);
    // What has never been written to is not resident yet, and would look like growth.
    take_all(&pool, load.accounts());
    let samples = run(&plan, &load);
    judge_growth(&mut findings, &plan, &samples);
    judge_return(&mut findings, &pool, &load);
    judge_reclaimed(&mut findings, pool, load, channels, at_start);
    findings.say("most that was ever resident", format!("{:.1} MiB", mib(resident::peak_bytes())));
    println!("{}", findings.table);
    assert!(findings.broken.is_empty(), "broken: {:#?}\n{}", findings.broken, findings.table);
}
