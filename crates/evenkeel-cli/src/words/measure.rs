//! Sizes and durations: a number, a unit, and bounds that catch a slip of the pen.

use std::time::Duration;

pub(crate) const SIZES: &str = "a whole number of bytes, or a string of one and KiB, MiB, GiB, TiB, kB, MB, GB or TB, \
     from 1MiB to 1024TiB, is allowed";
pub(crate) const QUOTAS: &str = "a whole number of bytes, or a string of one and KiB, MiB, GiB, TiB, kB, MB, GB or TB, \
     from 68KiB (a message of full length) to 1024TiB, is allowed";
pub(crate) const GRACES: &str = "a number and ms, s, m or h, more than nothing and at most 24h";
pub(crate) const AGES: &str = "a number and ms, s, m, h or d, from 1s to 36500d";
pub(crate) const SECONDS: &str = "a number from 1 to 31536000 (a year) is allowed";

/// Who writes 256 for 256 MiB is told; and a segment has room for what a channel brings at once.
const SIZE_MIN: u64 = 1 << 20;
const SIZE_MAX: u64 = 1 << 50;
/// What a message of full length takes, in a number that people remember.
const QUOTA_MIN: u64 = 68 << 10;
const _: () = assert!(QUOTA_MIN >= evenkeel_recorder::quota_bytes_min());
const DAY: Duration = Duration::from_secs(86_400);

const UNITS_OF_SIZE: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Units and their seconds.
const UNITS_OF_TIME: [(&str, f64); 5] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
/// Those that a stop is measured in.
const UNITS_BELOW_A_DAY: usize = 4;

/// A size with its unit, in bytes.
pub(crate) fn parse_size(word: &str) -> Result<u64, String> {
    parse_bytes(word, SIZES, size_in_bounds)
}

/// The memory of a channel with its unit, in bytes.
pub(crate) fn parse_quota(word: &str) -> Result<u64, String> {
    parse_bytes(word, QUOTAS, quota_in_bounds)
}

fn parse_bytes(word: &str, allowed: &str, in_bounds: fn(u64) -> Option<u64>) -> Result<u64, String> {
    let refused = || format!("{word:?} is no size; {allowed}");
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let (_, factor) = UNITS_OF_SIZE.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    if number.is_empty() {
        return Err(refused());
    }
    // What 64 bits do not hold is far out of bounds.
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    bytes.and_then(in_bounds).ok_or_else(|| format!("{word:?} is out of bounds; {allowed}"))
}

/// `bytes` if it is a size that is allowed.
pub(crate) fn size_in_bounds(bytes: u64) -> Option<u64> {
    (SIZE_MIN..=SIZE_MAX).contains(&bytes).then_some(bytes)
}

/// `bytes` if it is memory that a channel can do with.
pub(crate) fn quota_in_bounds(bytes: u64) -> Option<u64> {
    (QUOTA_MIN..=SIZE_MAX).contains(&bytes).then_some(bytes)
}

/// How long a stop may take.
pub(crate) fn parse_grace(word: &str) -> Result<Duration, String> {
    let units = &UNITS_OF_TIME[..UNITS_BELOW_A_DAY];
    let grace =
        parse_duration(word, units).ok_or_else(|| format!("{word:?} is no duration; {GRACES} is allowed"))?;
    let is_allowed = !grace.is_zero() && grace <= DAY;
    if is_allowed { Ok(grace) } else { Err(format!("{word:?} is out of bounds; {GRACES} is allowed")) }
}

/// How long something is kept, in nanoseconds.
pub(crate) fn parse_age(word: &str) -> Result<u64, String> {
    let age = parse_duration(word, &UNITS_OF_TIME)
        .ok_or_else(|| format!("{word:?} is no duration; {AGES} is allowed"))?;
    let is_allowed = (Duration::from_secs(1)..=DAY * 36_500).contains(&age);
    let nanoseconds = u64::try_from(age.as_nanos()).ok().filter(|_| is_allowed);
    nanoseconds.ok_or_else(|| format!("{word:?} is out of bounds; {AGES} is allowed"))
}

/// A number and a unit. What no duration can hold is the longest there is.
fn parse_duration(word: &str, units: &[(&str, f64)]) -> Option<Duration> {
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let (_, seconds) = units.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = number.parse().ok()?;
    Some(Duration::try_from_secs_f64(number * seconds).unwrap_or(Duration::MAX))
}

/// Seconds in nanoseconds, if it is a number of them that is allowed.
pub(crate) fn seconds_in_bounds(seconds: f64) -> Option<u64> {
    let is_allowed = (1.0..=31_536_000.0).contains(&seconds);
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|_| is_allowed)?;
    u64::try_from(duration.as_nanos()).ok()
}
