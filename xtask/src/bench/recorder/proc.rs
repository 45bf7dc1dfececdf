//! What `/proc` tells of a process.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::process;

/// Whether there is a `/proc` as Linux has it.
pub(super) fn is_there() -> bool {
    let own = std::process::id();
    CpuTime::of(own).is_ok() && resident_bytes(own).is_some()
}

/// User and system time of all threads of a process, on two clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuTime {
    /// Of the process: threads that ended count too, but a hundredth of a second is little to it.
    ticks: u64,
    /// Of the threads that are there; 0 where the system does not tell.
    nanoseconds: u64,
}

impl CpuTime {
    /// What a process has taken so far.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn of(pid: u32) -> Result<Self, String> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let ticks = read_ticks(&stat).ok_or_else(|| format!("{path}: {stat}"))?;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let schedules = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        let nanoseconds = schedules.filter_map(|schedule| read_nanoseconds(&schedule)).sum();
        Ok(Self { ticks, nanoseconds })
    }

    /// What it has taken since then: by the clock that says more.
    pub(super) fn since(self, earlier: Self, ticks_per_second: f64) -> Duration {
        let by_ticks = self.ticks.saturating_sub(earlier.ticks) as f64 / ticks_per_second;
        let by_threads = Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds));
        by_threads.max(Duration::from_secs_f64(by_ticks))
    }
}

/// Ticks in a second of processor time.
///
/// # Errors
/// When the system does not tell.
pub(super) fn ticks_per_second() -> Result<f64, String> {
    let told = process::text_output(Command::new("getconf").arg("CLK_TCK"))?;
    let ticks = told.parse::<f64>().ok().filter(|ticks| *ticks >= 1.0);
    ticks.ok_or_else(|| format!("getconf CLK_TCK: {told}"))
}

/// The 14th and the 15th word. The second, the name in parentheses, may hold spaces and
/// parentheses itself.
fn read_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut words = behind_name.split_ascii_whitespace().skip(11).map(|word| word.parse::<u64>().ok());
    Some(words.next()?? + words.next()??)
}

/// The first word: time on a processor.
fn read_nanoseconds(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// Memory that is resident now; nothing of a process that has ended.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "VmRSS")
}

/// The most memory that was ever resident; nothing of a process that has ended.
pub(super) fn peak_resident_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "VmHWM")
}

fn memory_bytes(pid: u32, field: &str) -> Option<u64> {
    read_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, field)
}

/// A line `FIELD:  N kB`.
fn read_memory(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes = value.trim().strip_suffix(" kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    // As proc(5) numbers them: utime is the 14th, stime the 15th, cutime the 16th.
    const STAT: &str = "71 (a) b (c)) S 4 5 6 7 8 9 10 11 12 13 140 15 1600 1700 18 19 20 21 22 23 24\n";

    #[test]
    fn processor_time_is_read_behind_any_name() {
        assert_eq!(read_ticks(STAT), Some(155));
        for bad in ["", "71 (a) S 4 5", "71 (a) S 4 5 6 7 8 9 10 11 12 13 x 15 16"] {
            assert_eq!(read_ticks(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_clock_that_says_more_counts() {
        assert_eq!([read_nanoseconds("1500 7 3\n"), read_nanoseconds("")], [Some(1500), None]);
        let time = |ticks, nanoseconds| CpuTime { ticks, nanoseconds };
        let earlier = time(10, 1_000_000);
        let since = |later: CpuTime| later.since(earlier, 100.0).as_micros();
        assert_eq!(since(time(10, 1_500_000)), 500);
        assert_eq!(since(time(12, 1_500_000)), 20_000);
        // A thread has ended and taken its time with it.
        assert_eq!(since(time(12, 0)), 20_000);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tVmRSS: 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(read_memory(status, "VmHWM"), Some(2 << 20));
        assert_eq!(read_memory(status, "VmRSS"), Some(1 << 20));
        for bad in ["", "VmRSS: 12 MB\n", "VmRSS: x kB\n", "VmRSSx: 1 kB\n"] {
            assert_eq!(read_memory(bad, "VmRSS"), None, "{bad}");
        }
    }

    #[test]
    fn a_process_that_ended_has_neither() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(CpuTime::of(child.id()).is_err());
        assert_eq!((resident_bytes(child.id()), peak_resident_bytes(child.id())), (None, None));
        if is_there() {
            let own = std::process::id();
            assert!(resident_bytes(own) <= peak_resident_bytes(own));
        }
    }
}
