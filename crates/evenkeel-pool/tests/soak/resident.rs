//! What of this process is in memory, as the system says.

use std::fs;

/// Bytes that are resident, less those that were given back and are not taken yet.
pub(crate) fn bytes() -> f64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let kib = |name| figure(&rollup, name).unwrap_or(0.0);
    (kib("Rss:") - kib("LazyFree:")) * 1024.0
}

/// The most that was ever resident.
pub(crate) fn peak_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    figure(&status, "VmHWM:").unwrap() * 1024.0
}

fn figure(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
