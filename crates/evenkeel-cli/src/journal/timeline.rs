//! `evenkeel journal timeline`: what went wrong, and one of it entry by entry.

use super::shown::{milliseconds, role, text as shown};
use super::{done, opened, with_output};
use crate::args::journal::Timeline;
use crate::text;
use evenkeel::recovery_log::{Incident, Moment, RecoveryLogOptions, analyse};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Incidents that are listed; of more, the latest.
const LISTED_MAX: usize = 10_000;

pub(super) fn run(arguments: &Timeline) -> u8 {
    let told = match arguments.incident {
        Some(first_entry) => one(&arguments.dir, Some(first_entry)).and_then(|(found, damaged)| {
            let Some(incident) = found else { return Ok(None) };
            with_output(|out| tell(&incident, arguments.json, out)).map(|()| Some(damaged))
        }),
        None => list(arguments).map(Some),
    };
    done(&arguments.dir, told)
}

/// Reads the incident that begins with an entry, or the latest; where it is not, says so. And whether damage was met.
pub(super) fn one(dir: &Path, first_entry: Option<u64>) -> io::Result<(Option<Incident>, bool)> {
    let (storage, live) = opened(dir)?;
    let (mut found, mut count) = (None::<Incident>, 0u64);
    let (_, read) = analyse(&storage, live, RecoveryLogOptions::default(), &mut |incident| {
        count += 1;
        let is_it = match first_entry {
            Some(first_entry) => incident.first_entry == first_entry,
            None => found.as_ref().is_none_or(|found| incident.first_entry > found.first_entry),
        };
        if is_it {
            found = Some(incident);
        }
    })?;
    if found.is_none() {
        let which = first_entry
            .map_or_else(|| "incident".to_owned(), |entry| format!("incident {}", Incident::id_of(entry)));
        let there = match count {
            0 => "the journal tells of none".to_owned(),
            count => format!("`evenkeel journal timeline DIR` lists the {count} that are there"),
        };
        text::complain(&format!("there is no {which}; {there}"));
    }
    Ok((found, read.damaged))
}

fn list(arguments: &Timeline) -> io::Result<bool> {
    let (storage, live) = opened(&arguments.dir)?;
    let (mut listed, mut left_out) = (VecDeque::new(), 0u64);
    let (_, read) = analyse(&storage, live, RecoveryLogOptions::default(), &mut |mut incident| {
        if is_wanted(arguments, &incident) {
            if listed.len() == LISTED_MAX {
                listed.pop_front();
                left_out += 1;
            }
            // The list has no use for them.
            (incident.before, incident.moments) = (Vec::new(), Vec::new());
            listed.push_back(incident);
        }
    })?;
    listed.make_contiguous().sort_by_key(|incident| incident.first_entry);
    with_output(|out| {
        if arguments.json {
            let incidents: Vec<_> = listed.iter().map(summary).collect();
            let all = serde_json::json!({ "version": 1, "left_out": left_out, "incidents": incidents });
            serde_json::to_writer_pretty(&mut *out, &all)?;
            return writeln!(out);
        }
        if listed.is_empty() {
            return writeln!(out, "no incidents");
        }
        if left_out > 0 {
            writeln!(out, "{} earlier incidents are left out", text::count(left_out))?;
        }
        out.write_all(table(&listed).as_bytes())
    })?;
    Ok(read.damaged)
}

fn is_wanted(arguments: &Timeline, incident: &Incident) -> bool {
    let over = incident.over.as_deref().and_then(|over| humantime::parse_rfc3339(over).ok());
    let is_late_enough = arguments.since.is_none_or(|since| over.is_none_or(|over| over >= since));
    let was_felt = |name: &String| {
        let of = |place: &String| place.split('/').next() == Some(name);
        incident.channel.as_ref() == Some(name) || incident.places.iter().any(of)
    };
    is_late_enough && arguments.channel.as_ref().is_none_or(was_felt)
}

/// An incident without its entries.
fn summary(incident: &Incident) -> serde_json::Value {
    let mut summary = serde_json::to_value(incident).unwrap_or_default();
    if let Some(fields) = summary.as_object_mut() {
        for key in ["before", "moments", "left_out"] {
            fields.remove(key);
        }
        fields.insert("headline".to_owned(), incident.headline().into());
    }
    summary
}

fn table(incidents: &VecDeque<Incident>) -> String {
    let head =
        ["incident", "began", "where", "what", "faults", "lasted", "ended"].map(str::to_owned).to_vec();
    let row = |incident: &Incident| {
        let what = incident
            .code
            .map_or_else(|| "a fault".to_owned(), |code| format!("{code} {}", code.explanation().title));
        vec![
            incident.id.clone(),
            format!("{}Z", shown(milliseconds(&incident.began))),
            incident.place(),
            what,
            text::count(incident.faults),
            duration(incident.duration()),
            incident.ended.to_string(),
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(incidents.iter().map(row)).collect();
    text::table(&rows)
}

/// Tells one incident.
fn tell(incident: &Incident, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, incident)?;
        return writeln!(out);
    }
    writeln!(out, "{}", incident.headline())?;
    writeln!(
        out,
        "\n{}, {} at worst, since {}Z, {}; felt in {}",
        incident.id,
        incident.severity,
        shown(milliseconds(&incident.began)),
        incident.ended,
        incident.places.join(", ")
    )?;
    let began_ns = incident.moments.first().map_or(0, |moment| moment.unix_ns);
    for (title, moments) in [("before", &incident.before), ("entries", &incident.moments)] {
        if !moments.is_empty() {
            writeln!(out, "\n{title}:")?;
            out.write_all(moments_table(moments, began_ns).as_bytes())?;
        }
    }
    if incident.left_out > 0 {
        writeln!(out, "{} more entries are left out in the middle", text::count(incident.left_out))?;
    }
    if let Some(code) = incident.code {
        let explanation = code.explanation();
        writeln!(out, "\n{code}: {}\n{}", explanation.meaning, explanation.what_to_do)?;
    }
    Ok(())
}

/// Moments as lines, their causes below them.
fn moments_table(moments: &[Moment], began_ns: u64) -> String {
    let mut rows = vec![["when", "entry", "where", "part", "what"].map(str::to_owned).to_vec()];
    let blank = || vec![String::new(); 4];
    for moment in moments {
        rows.push(vec![
            offset(moment.unix_ns, began_ns),
            moment.entry.to_string(),
            moment.place(),
            role(moment.role).to_owned(),
            shown(&moment.text),
        ]);
        for (at, cause) in moment.causes.iter().enumerate() {
            let mut row = blank();
            row.push(format!("  {} {}", if at == 0 { "because:" } else { "from:" }, shown(cause)));
            rows.push(row);
        }
    }
    text::table(&rows)
}

/// How long after the beginning, or before it.
pub(super) fn offset(unix_ns: u64, began_ns: u64) -> String {
    let after = Duration::from_nanos(unix_ns.abs_diff(began_ns));
    if unix_ns == 0 {
        "?".to_owned()
    } else {
        format!("{}{}", if unix_ns < began_ns { "-" } else { "+" }, duration(after))
    }
}

/// A duration as people say it.
pub(super) fn duration(time: Duration) -> String {
    evenkeel::recovery_log::in_words(time)
}

/// A time in nanoseconds as people read it.
pub(super) fn time(unix_ns: u64) -> String {
    let at: SystemTime = UNIX_EPOCH + Duration::from_nanos(unix_ns);
    humantime::format_rfc3339_millis(at).to_string()
}
