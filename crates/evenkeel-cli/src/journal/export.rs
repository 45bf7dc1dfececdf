//! `evenkeel journal export`: one incident, written down for who was not there.

use super::{done, html, opened, timeline, with_output};
use crate::args::journal::ExportIncident;
use crate::{exit, text};
use evenkeel::journal::{CHECKPOINT_KIND, Checkpoint, entries};
use evenkeel::recovery_log::{Incident, Moment};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(super) fn run(arguments: &ExportIncident) -> u8 {
    if arguments.checkpoint {
        return done(&arguments.dir, checkpoint(&arguments.dir));
    }
    let (incident, damaged) = match timeline::one(&arguments.dir, arguments.incident) {
        Ok((Some(incident), damaged)) => (incident, damaged),
        Ok((None, _)) => return exit::USAGE,
        Err(e) => return done(&arguments.dir, Err(e)),
    };
    let written = match &arguments.html {
        None => print(&json_of(&incident, arguments.public)),
        Some(file) => write(file, &html::page(&incident, arguments.public), arguments.public),
    };
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            let place = arguments.html.as_deref().unwrap_or(Path::new("-"));
            text::complain(&format!("{}: {e}", place.display()));
            exit::CANNOT
        }
        _ => done(&arguments.dir, Ok(Some(damaged))),
    }
}

/// Prints the newest checkpoint of the journal; `None` where it has none, which was said.
fn checkpoint(dir: &Path) -> io::Result<Option<bool>> {
    let (storage, live) = opened(dir)?;
    let mut newest = None;
    let read = entries(&storage, live, &mut |entry| {
        if entry.kind == CHECKPOINT_KIND
            && let Ok(checkpoint) = serde_json::from_value::<Checkpoint>(entry.body)
        {
            newest = Some(checkpoint);
        }
        Ok(())
    })?;
    let Some(newest) = newest else {
        text::complain("the journal has no signed checkpoint: whoever opened it had no key");
        return Ok(None);
    };
    print(&json!(newest)).map(|()| Some(read.damaged))
}

fn print(value: &Value) -> io::Result<()> {
    with_output(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        writeln!(out)
    })
}

/// Writes a page; a private one is for its owner alone.
fn write(file: &Path, page: &str, is_public: bool) -> io::Result<()> {
    if file == Path::new("-") {
        return with_output(|out| out.write_all(page.as_bytes()));
    }
    let mode = if is_public { 0o666 } else { 0o600 };
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(file)?;
    file.write_all(page.as_bytes())
}

fn json_of(incident: &Incident, is_public: bool) -> Value {
    let mut json = if is_public { public(incident) } else { json!(incident) };
    json["headline"] = incident.headline().into();
    json["private"] = (!is_public).into();
    json
}

/// What may leave the process, field by field: what is new is not public by accident.
fn public(incident: &Incident) -> Value {
    let moment = |moment: &Moment| {
        json!({ "entry": moment.entry, "unix_ns": moment.unix_ns, "role": moment.role, "place": moment.place(),
                "public": moment.public })
    };
    let moments = |moments: &[Moment]| moments.iter().map(moment).collect::<Vec<_>>();
    json!({
        "id": incident.id, "first_entry": incident.first_entry, "last_entry": incident.last_entry,
        "place": incident.place(), "code": incident.code, "class": incident.class, "severity": incident.severity,
        "duration_ms": incident.duration_ms, "ended": incident.ended, "faults": incident.faults,
        "done": incident.done, "places": incident.places, "left_out": incident.left_out,
        "before": moments(&incident.before), "moments": moments(&incident.moments),
    })
}
