//! `evenkeel status`: how a running recorder does.

use crate::args::Status as Arguments;
use crate::control::{Answer, Request, Status, ask, tame};
use crate::{exit, text};
use serde::Serialize;
use std::time::Duration;

/// The version of what is printed.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Printed<'a> {
    version: u32,
    #[serde(flatten)]
    status: &'a Status,
}

pub(crate) fn run(arguments: &Arguments) -> u8 {
    let status: Status = match ask(&arguments.dir, &Request::Status {}) {
        Ok(Answer { first, .. }) => first,
        Err(unreachable) => return unreachable.tell(),
    };
    if arguments.json {
        let printed = text::print_json(&Printed { version: VERSION, status: &status });
        return if printed.is_ok() { exit::OK } else { exit::CANNOT };
    }
    for line in lines(&status) {
        text::say(&line);
    }
    exit::OK
}

/// The status for people.
fn lines(status: &Status) -> Vec<String> {
    let since = Duration::from_secs(status.uptime_s.max(0.0) as u64);
    let mut lines = vec![
        format!("{} for {}, process {}", tame(&status.state), humantime::format_duration(since), status.pid),
        table(status).trim_end().to_owned(),
    ];
    for channel in &status.channels {
        if let Some(address) = &channel.listening {
            lines.push(format!("  {} listens on {}", tame(&channel.name), tame(address)));
        }
        if let Some(dropped) = channel.kernel_dropped.filter(|dropped| *dropped > 0) {
            let dropped = text::count(dropped);
            lines.push(format!("  {}: the kernel dropped {dropped} datagrams", tame(&channel.name)));
        }
        if let Some(fault) = &channel.last_fault {
            lines.push(format!("  {}: last fault: {}", tame(&channel.name), tame(fault)));
        }
    }
    if status.state == "recording" {
        lines.push(format!("a stop is expected to take {:.0} ms", status.stop_forecast_ms));
    }
    if status.more.get("strict").is_some_and(|strict| *strict == true) {
        lines.push("what is dropped makes the exit code 1 (--strict)".to_owned());
    }
    if !status.threads.is_empty() {
        let cpu_ms: f64 = status.threads.iter().map(|thread| thread.cpu_ms).sum();
        let share = cpu_ms / 10.0 / status.uptime_s.max(0.001);
        let (count, most) = (status.threads.len(), status.threads_max);
        lines.push(format!("{count} threads, {most} at most, have used {share:.1} % of a processor"));
    }
    lines.extend(status.alerts.iter().map(|alert| format!("ALERT: {}", tame(alert))));
    lines
}

fn table(status: &Status) -> String {
    let head = ["channel", "state", "records", "bytes", "stored", "dropped", "queue", "gaps", "restarts"];
    let rows = status.channels.iter().map(|c| {
        vec![
            tame(&c.name),
            tame(&c.state),
            text::count(c.accepted_records),
            text::bytes(c.accepted_bytes),
            text::count(c.committed_records),
            text::count(c.dropped_records),
            text::bytes(c.queue_bytes),
            text::count(c.gaps),
            text::count(c.restarts),
        ]
    });
    let head = head.map(str::to_owned).to_vec();
    text::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}
