//! What `/proc` says of processes.
//!
//! Where it cannot be read nothing is known of others, and nobody is taken for ours.

use std::collections::BTreeSet;
use std::fs;

/// Variable that says whose run a process belongs to, in hexadecimal digits.
pub(super) const RUN_VARIABLE: &str = "EVENKEEL_RUN";
/// Variable with the name of the channel that a process is the source of.
pub(super) const CHANNEL_VARIABLE: &str = "EVENKEEL_CHANNEL";

/// Some fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    threads: u32,
    /// When it began, in clock ticks since the system did: with the pid, a name that is not used again.
    pub(super) start_ticks: u64,
}

impl Stat {
    /// Whether it still runs: a zombie does not, unless its first thread alone has ended.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.threads > 1
    }
}

/// What the system says of a process; `None` when there is none of this number.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, the second field, may hold anything: what counts follows its last parenthesis.
fn parse(line: &[u8]) -> Option<Stat> {
    let name_end = memchr::memrchr(b')', line)?;
    let rest = std::str::from_utf8(&line[name_end + 1..]).ok()?;
    // The first of these is field 3.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        state: *field(3)?.as_bytes().first()?,
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        start_ticks: field(22)?.parse().ok()?,
    })
}

/// All processes that there are now, as numbers.
pub(super) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Those of these groups in which a process still runs.
pub(super) fn living_groups(of: &BTreeSet<i32>) -> BTreeSet<i32> {
    let stats = pids().filter_map(stat);
    stats.filter(|stat| stat.is_alive() && of.contains(&stat.group)).map(|stat| stat.group).collect()
}

/// Whether a process was started by this run of a recorder, or by somebody who was.
/// Of a process of another user nobody can say.
pub(super) fn belongs_to(pid: i32, run: &str) -> bool {
    let wanted = format!("{RUN_VARIABLE}={run}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// What tells this boot of the system from all others.
pub(super) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// The name space that our process numbers belong to.
pub(super) fn pid_namespace() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ W3
    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let tail = "S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 200";
        let expected = Stat { state: b'S', parent: 7, group: 42, threads: 3, start_ticks: 987_654 };
        for name in ["sh", "a b", "a) Z 1 1 1", ")", "(((", "\u{fffd}"] {
            assert_eq!(parse(format!("42 ({name}) {tail}").as_bytes()), Some(expected), "{name}");
        }
        let state = |state: u8, threads| Stat { state, threads, ..expected }.is_alive();
        assert!(state(b'R', 1) && state(b'T', 1) && state(b'D', 1) && state(b'Z', 2));
        assert!(!state(b'Z', 1) && !state(b'X', 0));
        assert_eq!(parse(b"42 (\xff\xfe) S 7 42 42 0"), None, "cut short");
        assert_eq!(parse(b"42 sh S 7 42"), None);
        assert_eq!(parse(b""), None);
    }

    // REQ W3
    #[test]
    fn this_process_is_there() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let stat = stat(pid).unwrap();
        assert!(stat.is_alive() && stat.start_ticks > 0);
        assert!(pids().any(|other| other == pid));
        let group = stat.group;
        assert_eq!(living_groups(&[group, i32::MAX].into()), [group].into());
        assert!(!belongs_to(pid, "00"));
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(pid_namespace().unwrap().starts_with("pid:["));
    }
}
