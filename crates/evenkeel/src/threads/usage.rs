//! What the system knows of a thread: its time on a processor, its switches, where it stands in the kernel.

use std::fmt;
use std::fs;
use std::time::Duration;

/// What a thread has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Time on a processor.
    pub cpu: Duration,
    /// Time it could have run and had no processor. Zero where the kernel does not count it.
    pub run_queue_wait: Duration,
    /// How often it went to wait.
    pub voluntary_switches: u64,
    /// How often it was taken off its processor.
    pub involuntary_switches: u64,
}

impl Usage {
    /// Of a thread of this process; `None` when there is none of that number (any more).
    pub(super) fn of(tid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).ok()?;
        let (cpu, run_queue_wait) = times_of(tid)?;
        Some(Self {
            cpu,
            run_queue_wait,
            voluntary_switches: field(&status, "voluntary_ctxt_switches:")?,
            involuntary_switches: field(&status, "nonvoluntary_ctxt_switches:")?,
        })
    }
}

/// Time on a processor, the cheaper half of [`Usage::of`].
pub(super) fn cpu_of(tid: i32) -> Option<Duration> {
    times_of(tid).map(|(cpu, _)| cpu)
}

/// Time on a processor, and time in its queue.
fn times_of(tid: i32) -> Option<(Duration, Duration)> {
    if let Ok(text) = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")) {
        let mut fields = text.split_ascii_whitespace().map(str::parse);
        if let (Some(Ok(cpu)), Some(Ok(queue))) = (fields.next(), fields.next()) {
            return Some((Duration::from_nanos(cpu), Duration::from_nanos(queue)));
        }
    }
    // A kernel without these statistics counts in hundredths of a second.
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next()?.ok()? + fields.next()?.ok()?;
    Some((Duration::from_millis(ticks.saturating_mul(10)), Duration::ZERO))
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Where a thread stands in the kernel, as far as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InKernel {
    /// Its state: `R` runs or could, `S` waits, `D` waits and cannot be interrupted (a disk, mostly).
    pub state: char,
    /// The kernel's function that it waits in, where that is told.
    pub waits_in: Option<String>,
    /// The number of the system call it is in.
    pub syscall: Option<u64>,
}

impl InKernel {
    pub(super) fn of(tid: i32) -> Option<Self> {
        let read = |what: &str| fs::read_to_string(format!("/proc/self/task/{tid}/{what}")).ok();
        let stat = read("stat")?;
        let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
        let waits_in = read("wchan").filter(|function| !matches!(function.trim(), "" | "0"));
        let syscall = read("syscall").and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
        Some(Self { state, waits_in: waits_in.map(|function| function.trim().to_owned()), syscall })
    }
}

impl fmt::Display for InKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            'R' => f.write_str("running")?,
            'D' => f.write_str("in an uninterruptible wait")?,
            'S' => f.write_str("waiting")?,
            'T' | 't' => f.write_str("stopped")?,
            other => write!(f, "state {other}")?,
        }
        if let Some(function) = &self.waits_in {
            write!(f, " in {function}")?;
        }
        self.syscall.map_or(Ok(()), |number| write!(f, ", system call {number}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use rustix::thread::gettid;

    // REQ T7
    #[test]
    fn a_thread_that_works_has_used_its_processor_and_one_that_is_gone_nothing() {
        let tid = gettid().as_raw_nonzero().get();
        let before = Usage::of(tid).unwrap();
        let mut sum = 0_u64;
        while Usage::of(tid).unwrap().cpu < before.cpu + Duration::from_millis(20) {
            sum = std::hint::black_box((0..10_000_u64).fold(sum, u64::wrapping_add));
        }
        let gone = std::thread::spawn(|| gettid().as_raw_nonzero().get()).join().unwrap();
        assert!(before.voluntary_switches <= Usage::of(tid).unwrap().voluntary_switches);
        assert_eq!(InKernel::of(tid).unwrap().state, 'R');
        // Its number may be somebody else's by now, but not of this process' for long.
        assert!(gone != tid);
    }

    // REQ T7
    #[test]
    fn switches_are_told_apart() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t213\nnonvoluntary_ctxt_switches:\t41\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(213));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(41));
        assert_eq!(field(status, "Threads:"), None);
    }
}
