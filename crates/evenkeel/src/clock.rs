//! The two clocks, at the edge.

use evenkeel_core::Mono;
use evenkeel_log::Stamp;
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time now.
pub fn mono() -> Mono {
    Mono::from_nanos(nanoseconds(ClockId::Monotonic))
}

/// Unix time now, in nanoseconds.
pub fn wall_ns() -> u64 {
    nanoseconds(ClockId::Realtime)
}

/// Both clocks now, as a log wants them.
pub fn stamp() -> Stamp {
    Stamp { wall_ns: wall_ns(), mono_ns: mono().as_nanos() }
}

/// A Unix time in RFC 3339, with nanoseconds, in UTC.
pub(crate) fn rfc3339(unix_ns: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(unix_ns);
    humantime::format_rfc3339_nanos(time).to_string()
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither clock is before 1970 on a machine that keeps a journal.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}
