//! The two clocks, at the edge.

use evenkeel_log::Stamp;
use rustix::time::{ClockId, clock_gettime};

/// Both clocks now.
pub fn now() -> Stamp {
    Stamp { wall_ns: nanoseconds(ClockId::Realtime), mono_ns: nanoseconds(ClockId::Monotonic) }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither clock is before 1970 on a machine that can hold a recording.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}
