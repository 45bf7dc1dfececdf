//! `evenkeel stop`: asks a running recorder for its end, and exits as it does.

use crate::args::Stop;
use crate::control::{Answer, End, Lost, Request, Stopping, ask, tame};
use crate::{exit, text};
use std::time::Duration;

/// How long a recorder may take beyond its grace period to say how it ended.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &Stop) -> u8 {
    let request = Request::Stop { force: arguments.force, reason: arguments.reason.clone() };
    let mut answer: Answer<Stopping> = match ask(&arguments.dir, &request) {
        Ok(answer) => answer,
        Err(unreachable) => return unreachable.tell(),
    };
    let Stopping { pid, grace_ms, .. } = answer.first;
    let grace = Duration::from_millis(grace_ms);
    let (how, at_most) =
        (if arguments.force { "at once" } else { "in order" }, humantime::format_duration(grace));
    text::say(&format!("process {pid} is stopping {how}; that takes {at_most} at most"));
    match answer.next::<End>(grace.saturating_add(PATIENCE)) {
        Ok(end) => {
            tell(&end);
            // Then the directory is free for the next.
            answer.wait_gone();
            end.exit_code
        }
        Err(lost) => {
            text::complain(&died(pid, &lost));
            exit::NOT_CLEAN
        }
    }
}

fn tell(end: &End) {
    if let Some(fault) = &end.report_fault {
        text::complain(&tame(fault));
    }
    let (reason, by) = (tame(&end.reason), tame(&end.initiated_by));
    text::say(&format!("{}, in {:.1} ms ({reason}, from {by})", tame(&end.verdict), end.duration_ms));
}

fn died(pid: u32, lost: &Lost) -> String {
    match lost {
        Lost::Gone => format!(
            "process {pid} died before it said how it ended; what it left is sealed by `evenkeel recover` \
             or by the next `evenkeel record`"
        ),
        Lost::Silent => format!("process {pid} has not ended in its grace period"),
        Lost::Wrong(why) => tame(why),
    }
}
