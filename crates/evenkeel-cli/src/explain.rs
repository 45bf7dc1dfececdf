//! `evenkeel explain`: what a code means, what to do about it, and what the program does about it by itself.

use crate::args::Explain as Arguments;
use crate::{exit, text};
use evenkeel::faults::{CODES, Code, Explanation, Policies, Policy, Rung};
use serde::Serialize;

/// The version of what is printed.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Printed<T: Serialize> {
    version: u32,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct One {
    code: Code,
    class: &'static str,
    title: &'static str,
    meaning: &'static str,
    what_to_do: &'static str,
    /// What is done first about one of severity error, and the furthest that it may go.
    measures: Measures,
}

#[derive(Serialize)]
struct Measures {
    first: &'static str,
    last: &'static str,
    releases_by_itself: bool,
}

#[derive(Serialize)]
struct All {
    codes: Vec<One>,
}

pub(crate) fn run(arguments: &Arguments) -> u8 {
    let Some(given) = &arguments.code else { return list(arguments.json) };
    let explanation = match find(given) {
        Ok(explanation) => explanation,
        Err(why) => {
            text::complain(&why);
            return exit::USAGE;
        }
    };
    if arguments.json {
        return print(&Printed { version: VERSION, what: One::of(explanation) });
    }
    for line in lines(explanation) {
        text::print_line(&line);
    }
    exit::OK
}

fn list(json: bool) -> u8 {
    if json {
        let codes = CODES.iter().map(One::of).collect();
        return print(&Printed { version: VERSION, what: All { codes } });
    }
    for entry in CODES {
        text::print_line(&format!("{}  {:<12}  {}", entry.code, entry.code.class(), entry.title));
    }
    exit::OK
}

fn print(printed: &impl Serialize) -> u8 {
    if text::print_json(printed).is_ok() { exit::OK } else { exit::CANNOT }
}

/// The entry of a code, however it is written; or why there is none, with the nearest.
fn find(given: &str) -> Result<&'static Explanation, String> {
    let upper = given.trim().to_ascii_uppercase();
    let digits = upper.strip_prefix("EK-").or_else(|| upper.strip_prefix("EK")).unwrap_or(&upper);
    let is_number = (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let Some(number) = is_number.then(|| digits.parse::<u16>().ok()).flatten() else {
        return Err(format!(
            "{given:?} is no code; EK- and four digits are allowed, such as EK-1001; \
             `evenkeel explain` lists them"
        ));
    };
    let at = CODES.binary_search_by_key(&number, |entry| entry.code.number());
    at.map(|at| &CODES[at]).map_err(|_| {
        let distance = |entry: &&Explanation| entry.code.number().abs_diff(number);
        let nearest = CODES.iter().min_by_key(distance).expect("invariant: there are codes");
        format!("there is no EK-{number:04}; the nearest is {}: {}", nearest.code, nearest.title)
    })
}

impl One {
    fn of(entry: &Explanation) -> Self {
        let policy = Policies::default()[entry.code.class()];
        Self {
            code: entry.code,
            class: entry.code.class().name(),
            title: entry.title,
            meaning: entry.meaning,
            what_to_do: entry.what_to_do,
            measures: Measures {
                first: word(policy.first),
                last: word(policy.last),
                releases_by_itself: policy.releases_by_itself,
            },
        }
    }
}

fn word(rung: Rung) -> &'static str {
    match rung {
        Rung::Note => "note",
        Rung::Retry => "retry",
        Rung::Restart => "restart",
        Rung::RecoverChannel => "recover",
        Rung::IsolateChannel => "isolate",
        Rung::StopSystem => "stop",
    }
}

fn lines(entry: &Explanation) -> Vec<String> {
    vec![
        format!("{}: {}", entry.code, entry.title),
        String::new(),
        entry.meaning.to_owned(),
        String::new(),
        format!("What to do: {}", entry.what_to_do),
        format!(
            "Class: {}. Where it is supervised, {}",
            entry.code.class(),
            sentence(&Policies::default()[entry.code.class()])
        ),
    ]
}

/// What a policy does, in a sentence.
fn sentence(policy: &Policy) -> String {
    let does = |rung| match rung {
        Rung::Note => "it is told, no more",
        Rung::Retry => "what failed is tried again",
        Rung::Restart => "the component is restarted",
        Rung::RecoverChannel => "the channel is recovered",
        Rung::IsolateChannel => "the channel is isolated",
        Rung::StopSystem => "everything is stopped",
    };
    let (first, last) = (does(policy.first), does(policy.last));
    let release = match (policy.last, policy.releases_by_itself) {
        (Rung::IsolateChannel, true) => ", and tried again after a while",
        (Rung::IsolateChannel, false) => ", until a person releases it",
        _ => "",
    };
    match policy.first {
        rung if rung == policy.last => format!("{first}{release}."),
        _ => format!("{first} first; at the furthest, {last}{release}."),
    }
}

/// The page of all codes, as `docs/faults.md` has it.
#[cfg(test)]
fn page() -> String {
    let mut page = "# Codes of faults\n\n\
        Every fault that evenkeel tells of has one of these codes. A code keeps its meaning for ever; `evenkeel explain \
        EK-1001` says the same. What is told is the code with channel and component; why it happened is in the journal.\n\n\
        A recorder sees to its own sources: it tells of them, and restarts commands as `restart` says. The measures below \
        are those of the library's supervision, for faults of severity error, where nothing else is said.\n"
        .to_owned();
    let mut class = None;
    for entry in CODES {
        if class.replace(entry.code.class()) != Some(entry.code.class()) {
            let measures = sentence(&Policies::default()[entry.code.class()]);
            page.push_str(&format!("\n## {}\n\nBy default {measures}\n\n", entry.code.class()));
            page.push_str("| code | what happened | what it means | what to do |\n|---|---|---|---|\n");
        }
        let Explanation { code, title, meaning, what_to_do } = entry;
        page.push_str(&format!("| `{code}` | {title} | {meaning} | {what_to_do} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;

    // REQ E6, REQ D1
    #[test]
    fn a_code_is_found_however_it_is_written_and_the_nearest_is_named() {
        for given in ["EK-0203", "ek-0203", "EK-203", "0203", "203", " Ek0203 "] {
            assert_eq!(find(given).unwrap().code, Code::SOURCE, "{given}");
        }
        for (given, told) in [
            ("EK-0204", "there is no EK-0204; the nearest is EK-0203: a source cannot be read"),
            ("9999", "there is no EK-9999; the nearest is EK-1003"),
            ("disk", "\"disk\" is no code; EK- and four digits are allowed"),
            ("", "is no code"),
            ("EK-00203", "is no code"),
            ("-1", "is no code"),
        ] {
            let why = find(given).unwrap_err();
            assert!(why.contains(told), "{given}: {why}");
        }
    }

    // REQ E3, REQ D1
    #[test]
    fn what_is_done_by_default_is_told() {
        let told = |code| lines(find(code).unwrap()).pop().unwrap();
        let panic = "Class: panic. Where it is supervised, the component is restarted first; at the furthest, the \
                     channel is isolated, and tried again after a while.";
        assert_eq!(told("EK-0800"), panic);
        assert!(told("EK-0500").ends_with("the channel is isolated, until a person releases it."));
        assert!(told("EK-0100").ends_with("it is told, no more."));
    }

    // REQ D1
    #[test]
    fn the_page_of_codes_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults.md");
        if std::env::var_os("EVENKEEL_REWRITE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/faults.md differs: EVENKEEL_REWRITE=1 rewrites it");
    }
}
