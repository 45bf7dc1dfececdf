#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use super::*;
use std::collections::BTreeSet;

fn name(text: &str) -> Option<Name> {
    Some(Name::new(text).unwrap())
}

/// One whose every private field holds a secret of its own.
fn full_of_secrets() -> Fault {
    let mut fault = Fault {
        channel: name("left"),
        component: name("writer"),
        phase: Some(Phase::FlushingStorage),
        step: Some(Text::from("secret-step /srv/ada")),
        causes: Causes::text("secret-panic PASSWORD=hunter2"),
        site: Some(Site { file: Text::from("/build/secret-site.rs"), line: 777_777 }),
        unix_ns: Some(5),
        ..Fault::new(Code::STORAGE_FULL, Severity::Critical, Mono::from_nanos(9))
    };
    fault.causes.push(Text::from("secret-root \u{1b}[2J"));
    fault.done.push(Mono::from_nanos(666_666), Measure::Retry { after_ns: 888_888_000_000 });
    fault
}

// REQ E6
#[test]
fn nothing_private_is_in_the_public_face_and_everything_is_in_the_private_one() {
    let fault = full_of_secrets();
    let public = fault.public_face();
    let texts = [serde_json::to_string(&public).unwrap(), public.to_string(), format!("{public:?}")];
    for text in &texts {
        for secret in ["secret", "ada", "hunter2", "build", "777777", "666666", "888888", "\u{1b}", "\\u001b"]
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("left") && text.contains("writer"), "{text}");
    }
    let private = fault.private_face().to_string();
    assert!(private.contains("\\u{1b}[2J") && !private.contains('\u{1b}'), "{private}");
    let stored = serde_json::to_string(&fault).unwrap();
    for part in
        ["secret-step", "hunter2", "secret-root", "secret-site", "777777", "888888", "FlushingStorage"]
    {
        assert!(private.contains(part), "{part} not in {private}");
        assert!(stored.contains(part), "{part} not in {stored}");
    }
}

// REQ E1
#[test]
fn a_fault_reads_back_as_it_was_written_and_its_class_is_that_of_its_code() {
    let fault = full_of_secrets();
    let stored = serde_json::to_string(&fault).unwrap();
    assert!(stored.contains(r#""class":"storage""#), "{stored}");
    assert_eq!(serde_json::from_str::<Fault>(&stored).unwrap(), fault);
    let bent = stored.replace(r#""class":"storage""#, r#""class":"panic""#);
    assert_eq!(serde_json::from_str::<Fault>(&bent).unwrap().class(), FaultClass::Storage);
    for bad in [stored.replace(r#""left""#, r#""/etc/passwd""#), stored.replace("EK-1001", "EK-4001")] {
        assert!(serde_json::from_str::<Fault>(&bad).is_err(), "{bad}");
    }
}

// REQ E1, REQ E6
#[test]
fn codes_are_unique_sorted_and_complete_for_every_class() {
    assert!(CODES.is_sorted_by(|a, b| a.code < b.code));
    let classes: BTreeSet<_> = CODES.iter().map(|entry| entry.code.class()).collect();
    assert_eq!(classes, FaultClass::ALL.into_iter().collect());
    for class in FaultClass::ALL {
        assert!(Code::of_class(class).is_known(), "{class}");
        assert_eq!(Code::of_class(class).class(), class);
        assert_eq!(FaultClass::ALL[class.index()], class);
    }
    for entry in CODES {
        assert_eq!(entry.code.to_string().parse(), Ok(entry.code));
        assert!(
            !entry.title.ends_with('.') && entry.meaning.ends_with('.') && entry.what_to_do.ends_with('.')
        );
        assert!(
            [entry.title, entry.meaning, entry.what_to_do].iter().all(|text| (4..200).contains(&text.len()))
        );
    }
    let later: Code = "EK-0299".parse().unwrap();
    assert!(!later.is_known());
    assert_eq!(later.explanation().code, Code::EXECUTION);
    for bad in ["EK-0099", "EK-1100", "EK-+100", "EK-100", "ek-0100", "0100", "EK-01000", ""] {
        assert!(bad.parse::<Code>().is_err(), "{bad}");
    }
}

#[derive(Debug)]
struct Chain(usize, Option<Box<Chain>>);

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // More than memory has, if it were all taken.
        for _ in 0..u32::MAX {
            write!(f, "{} {} ", self.0, "ü".repeat(100))?;
        }
        Ok(())
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|chain| chain as _)
    }
}

// REQ E1
#[test]
fn a_chain_of_any_length_and_texts_without_end_are_cut_and_the_root_is_kept() {
    for length in [1, 7, 8, 9, 30] {
        let chain = (0..length).fold(None, |inner, at| Some(Box::new(Chain(at, inner)))).unwrap();
        let causes = Causes::of(&*chain);
        assert_eq!(causes.texts().len(), length.min(CAUSES_MAX));
        assert_eq!(causes.left_out() as usize, length.saturating_sub(CAUSES_MAX));
        assert!(causes.texts()[0].as_str().starts_with(&format!("{} ", length - 1)));
        assert!(causes.texts().last().unwrap().as_str().starts_with("0 "), "{causes:?}");
        for text in causes.texts() {
            assert!(text.as_str().len() <= TEXT_BYTES_MAX && text.as_str().ends_with(" [cut]"));
        }
    }
    let exact = "x".repeat(TEXT_BYTES_MAX);
    assert_eq!(Text::from(exact.as_str()).as_str(), exact);
    assert_eq!(Text::of(&exact).as_str(), exact);
    let long = serde_json::to_string(&"y".repeat(10_000)).unwrap();
    assert!(serde_json::from_str::<Text>(&long).unwrap().as_str().len() <= TEXT_BYTES_MAX);
}
