//! One incident as a page that holds all it needs: no script, nothing fetched, fit for a printer.
//!
//! Whatever comes out of the journal goes through [`escaped`]. The public page takes its words only from what the
//! recovery log says may leave the process.

mod lanes;

use super::shown::{role, text as shown};
use super::timeline::{duration, offset, time};
use crate::text::count;
use evenkeel::recovery_log::{Ended, Incident, Moment, Role};
use std::fmt::Write as _;

const STYLE: &str = include_str!("html/style.css");

/// Text with nothing in it that is markup, or moves or hides anything.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// How a part of an incident looks.
const fn look(role: Role) -> &'static str {
    match role {
        Role::Fault => "fault",
        Role::Measure => "measure",
        Role::Recovery => "recovery",
        Role::State => "state",
        Role::Output => "output",
        _ => "other",
    }
}

/// The page.
pub(super) fn page(incident: &Incident, is_public: bool) -> String {
    let mut page = String::new();
    head(&mut page, incident, is_public);
    page.push_str("<main>\n");
    facts(&mut page, incident);
    lanes::draw(&mut page, incident, is_public);
    codes(&mut page, incident);
    let began_ns = incident.moments.first().map_or(0, |moment| moment.unix_ns);
    entries(&mut page, "What happened", &incident.moments, began_ns, is_public);
    if incident.left_out > 0 {
        let _ =
            writeln!(page, "<p>{} more entries are left out in the middle.</p>", count(incident.left_out));
    }
    entries(&mut page, "What came before, in the same channel", &incident.before, began_ns, is_public);
    page.push_str("</main>\n");
    let (first, last) = (incident.first_entry, incident.last_entry);
    let _ = writeln!(
        page,
        "<footer>Out of entries {first} to {last} of the journal, by evenkeel {}. Times are UTC.</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION")
    );
    page
}

fn head(page: &mut String, incident: &Incident, is_public: bool) {
    let title = escaped(&format!("{} in {}", incident.id, incident.place()));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    let notice = if is_public {
        "Public: codes, names, numbers and the program's own words. Causes and output were left out."
    } else {
        "<strong>Private.</strong> This page holds causes, output and commands as they are in the journal. \
         Do not pass it on; <code>--public</code> makes one that may be."
    };
    let _ = writeln!(page, "<header>\n<p class=\"notice\">{notice}</p>");
    let _ = writeln!(page, "<h1>{}</h1>\n</header>", escaped(&incident.headline()));
}

fn facts(page: &mut String, incident: &Incident) {
    let began_ns = incident.moments.first().map_or(0, |moment| moment.unix_ns);
    let look = match incident.ended {
        Ended::Recovered => "good",
        Ended::Quiet | Ended::Stopped | Ended::Open => "fair",
        _ => "bad",
    };
    let facts = [
        ("Incident", escaped(&incident.id)),
        ("Ended", format!("<span class=\"badge {look}\">{}</span>", incident.ended)),
        ("Began", if began_ns == 0 { "unknown".to_owned() } else { time(began_ns) }),
        ("Lasted", duration(incident.duration())),
        ("Faults", count(incident.faults)),
        ("At worst", incident.severity.to_string()),
        ("Done", escaped(&incident.done_in_words())),
        ("Felt in", escaped(&incident.places.join(", "))),
    ];
    page.push_str("<dl class=\"facts\">\n");
    for (name, value) in facts {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

/// What the incident's code means.
fn codes(page: &mut String, incident: &Incident) {
    let Some(code) = incident.code else { return };
    let explanation = code.explanation();
    let _ = writeln!(
        page,
        "<section>\n<h2>{code}: {}</h2>\n<p>{}</p>\n<p><strong>What to do:</strong> {}</p>\n</section>",
        escaped(explanation.title),
        escaped(explanation.meaning),
        escaped(explanation.what_to_do)
    );
}

fn entries(page: &mut String, title: &str, moments: &[Moment], began_ns: u64, is_public: bool) {
    if moments.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<section>\n<h2>{title}</h2>\n<table>\n<thead><tr><th>When</th><th>Entry</th><th>Where</th><th>Part</th>\
         <th>What</th></tr></thead>\n<tbody>"
    );
    for moment in moments {
        let _ = write!(
            page,
            "<tr class=\"{}\"><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td><td>{}</td><td>",
            look(moment.role),
            offset(moment.unix_ns, began_ns),
            moment.entry,
            escaped(&moment.place()),
            role(moment.role)
        );
        page.push_str(&escaped(if is_public { &moment.public } else { &moment.text }));
        causes(page, &moment.causes, is_public);
        page.push_str("</td></tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

/// Causes, folded.
fn causes(page: &mut String, causes: &[String], is_public: bool) {
    if causes.is_empty() || is_public {
        return;
    }
    page.push_str("<details><summary>why</summary><ol>");
    for cause in causes {
        let _ = write!(page, "<li>{}</li>", escaped(cause));
    }
    page.push_str("</ol></details>");
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ E6
    #[test]
    fn markup_and_control_characters_are_text() {
        assert_eq!(
            escaped("<script>alert('x')</script> & \"q\" \u{1b}[2J\u{202e}"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot; \\u{1b}[2J\\u{202e}"
        );
    }
}
