//! An entry for people, and words that move no cursor.

use evenkeel::journal::Entry;
use evenkeel::recovery_log::{Moment, Role};
use serde_json::Value;
use std::fmt::Write as _;

/// Longer lists are only counted: `--json` has them.
const NESTED_CHARS_MAX: usize = 160;

/// An entry for people: time to the millisecond, number, kind, place, what it says.
pub(super) fn line(entry: &Entry) -> String {
    let place = match (&entry.channel, &entry.component) {
        (Some(channel), Some(component)) => format!("{}/{}", word(channel), word(component)),
        (Some(name), None) => word(name),
        (None, Some(name)) => format!("-/{}", word(name)),
        (None, None) => "-".to_owned(),
    };
    let mut line = format!(
        "{}Z {:>6} {:<18} {place:<10}",
        word(milliseconds(&entry.time)),
        entry.entry,
        word(&entry.kind)
    );
    match &entry.body {
        // What the program itself says often has words of its own.
        _ if has_words(entry) => {
            let moment = Moment::of(entry);
            let _ = write!(line, " {}", text(&moment.text));
            for (at, cause) in moment.causes.iter().enumerate() {
                let _ = write!(line, "; {} {}", if at == 0 { "because:" } else { "from:" }, text(cause));
            }
        }
        Value::Object(fields) => {
            // What is null says nothing; --json has it.
            for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let _ = write!(line, " {}={}", word(key), plain(value));
            }
        }
        other => {
            let _ = write!(line, " {}", plain(other));
        }
    }
    line
}

/// Whether an entry reads better in words than as its fields.
fn has_words(entry: &Entry) -> bool {
    match entry.kind.as_str() {
        "fault" => entry.body.get("fault").is_some_and(Value::is_object),
        "state" | "state-refused" | "state-flapping" | "fault-summary" | "measure" | "recovery"
        | "snapshot" | "anchor" => true,
        _ => false,
    }
}

/// A time of nanoseconds, as the journal has them, up to its milliseconds and without its zone.
pub(super) fn milliseconds(time: &str) -> &str {
    time.get(..23).filter(|_| time.is_ascii()).unwrap_or(time)
}

/// A role, for people.
pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Fault => "fault",
        Role::Measure => "measure",
        Role::Recovery => "recovery",
        Role::State => "state",
        Role::Output => "output",
        _ => "",
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) if value.to_string().len() > NESTED_CHARS_MAX => {
            format!("[{} items]", items.len())
        }
        other => word_or(other.to_string(), |json| json.bytes().all(|b| b.is_ascii_graphic() || b == b' ')),
    }
}

/// Text as it stands when it is one plain word, else quoted: nothing in a journal
/// may move a terminal's cursor.
pub(super) fn word(text: &str) -> String {
    let is_plain = |text: &str| {
        !text.is_empty() && !text.contains(['"', '\'', '=']) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    word_or(text.to_owned(), is_plain)
}

fn word_or(text: String, is_plain: impl Fn(&str) -> bool) -> String {
    if is_plain(&text) { text } else { format!("{text:?}") }
}

/// Text on one line in which nothing moves a cursor, turns the direction of writing, or hides.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Marks of direction, separators of lines, joiners: what shows nothing and changes what is shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ M4
    #[test]
    fn bodies_are_words_that_move_no_cursor() {
        for (text, shown) in [
            ("flush", "flush"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("\u{1b}[2J", "\"\\u{1b}[2J\""),
            ("a=b", "\"a=b\""),
        ] {
            assert_eq!(word(text), shown);
        }
        assert_eq!(plain(&serde_json::json!({ "a": [1, null] })), "{\"a\":[1,null]}");
        assert!(!plain(&serde_json::json!(["\u{9b}2J"])).contains('\u{9b}'));
        assert_eq!(text("a b\r\n\u{9b}\u{202e}x é"), "a b\\u{d}\\u{a}\\u{9b}\\u{202e}x é");
    }
}
