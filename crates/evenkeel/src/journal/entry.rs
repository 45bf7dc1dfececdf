//! One entry: its bytes, and the hash that chains it to the one before.
//!
//! Byte format: one JSON object without a line break, its keys in this order:
//!
//! ```text
//! {"v":2,"entry":N,"time":"2026-11-21T09:30:00.123456789Z","kind":"..","channel":null,"component":null,"prev":"<64 hex>","body":{..}}
//! ```
//!
//! Version 1 had no `component`; otherwise it was the same, and is read as entries about none. One chain
//! may go through entries of both: it is over their bytes.
//!
//! `hash(n) = SHA-256(hash(n - 1) as 32 bytes, the bytes of entry n)`, `prev` is
//! `hash(n - 1)`, and `hash(0)` is zeroes. A reader takes other keys as they come
//! and refuses a `v` that it does not know: it never guesses.

use evenkeel_log::hex;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// A SHA-256.
pub(super) type Hash = [u8; 32];
/// The hash before the first entry.
pub(super) const ZERO: Hash = [0; 32];
/// Version of the format that is written.
pub(super) const VERSION: u64 = 2;
/// The oldest version that is read.
const VERSION_MIN: u64 = 1;
/// Longest entry in bytes. A body that makes it longer is replaced by its length and hash.
pub const ENTRY_BYTES_MAX: usize = evenkeel_log::MESSAGE_BYTES_MAX;

/// The hash after an entry.
pub(super) fn hash_after(before: &Hash, payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(payload);
    hasher.finalize().into()
}

/// A hash as 64 lower-case digits.
pub(super) fn hex_digits(hash: &Hash) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (at, byte) in hash.iter().enumerate() {
        text[2 * at] = DIGITS[usize::from(byte >> 4)];
        text[2 * at + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The hash that 64 lower-case digits say.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let bytes: Vec<u8> =
        (0..32).map_while(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect();
    let hash: Hash = bytes.try_into().ok()?;
    (hex(&hash) == text).then_some(hash)
}

/// The kind of an entry, by its first bytes alone; `None` when they are not those of one that can be read.
pub(super) fn kind_of(payload: &[u8]) -> Option<&str> {
    // What stands before it is at most so long: `v`, a number of 20 digits, a time.
    const HEAD_BYTES: usize = 96;
    const KEY: &[u8] = br#","kind":""#;
    let known = [br#"{"v":1,"#.as_slice(), br#"{"v":2,"#];
    if !known.iter().any(|head| payload.starts_with(head)) {
        return None;
    }
    let head = &payload[..payload.len().min(HEAD_BYTES)];
    let at = head.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let end = payload[at..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&payload[at..at + end]).ok()
}

/// An entry as it is read back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Version of the format that it was written in; what older ones lack is as if it had been left out.
    pub version: u64,
    /// Its number, counted from 1 for ever.
    pub entry: u64,
    /// When it was appended, RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// What it is about, such as `step-intent`.
    pub kind: String,
    /// The channel it is about, if one.
    pub channel: Option<String>,
    /// The component of it that it is about, if one.
    pub component: Option<String>,
    /// The hash before it, 64 hexadecimal digits.
    pub prev: String,
    /// What it says.
    pub body: Value,
    /// Its bytes, as they are hashed.
    pub payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Deserialize)]
struct Fields {
    v: u64,
    entry: u64,
    time: String,
    kind: String,
    channel: Option<String>,
    #[serde(default)]
    component: Option<String>,
    prev: String,
    body: Value,
}

impl Entry {
    /// Reads the bytes of an entry; the error says why they are none.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, String> {
        // Another version may have other fields: what it is comes first.
        let refused = |v| format!("of version {v}; this program reads versions {VERSION_MIN} to {VERSION}");
        let is_known = |v: u64| (VERSION_MIN..=VERSION).contains(&v);
        let fields: Fields = serde_json::from_slice(payload).map_err(|e| {
            match serde_json::from_slice::<Version>(payload) {
                Ok(Version { v }) if !is_known(v) => refused(v),
                _ => format!("not an entry: {e}"),
            }
        })?;
        let Fields { v, entry, time, kind, channel, component, prev, body } = fields;
        if !is_known(v) {
            return Err(refused(v));
        }
        // Whatever stood under that name in version 1, it was no component.
        let component = component.filter(|_| v > 1);
        Ok(Self { version: v, entry, time, kind, channel, component, prev, body, payload: payload.to_vec() })
    }

    /// [`Entry::time`], or `None` when that is no time.
    pub fn at(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.time).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::Draft;
    use super::super::time::Times;
    use super::*;
    use serde_json::{Map, json};
    use std::time::Duration;

    const WALL_NS: u64 = 1_795_253_400_123_456_789;

    fn encoded(draft: &Draft, entry: u64, prev: &Hash) -> Vec<u8> {
        let mut bytes = Vec::new();
        draft.encode(&mut bytes, &mut Times::default(), (entry, WALL_NS), prev);
        assert!(bytes.len() <= draft.bytes());
        bytes
    }

    // REQ C11
    #[test]
    fn the_format_stays_as_it_is() {
        let draft =
            Draft::of("step-intent", Some("le\"ft"), Some("writer"), &json!({ "b": [1, null], "a": "x" }));
        let bytes = encoded(&draft, 7, &ZERO);
        let zeroes = "0".repeat(64);
        let expected = format!(
            r#"{{"v":2,"entry":7,"time":"2026-11-21T09:30:00.123456789Z","kind":"step-intent","channel":"le\"ft","component":"writer","prev":"{zeroes}","body":{{"a":"x","b":[1,null]}}}}"#
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        let entry = Entry::parse(&bytes).unwrap();
        assert_eq!((entry.version, entry.entry, entry.channel.as_deref()), (2, 7, Some("le\"ft")));
        assert_eq!(entry.component.as_deref(), Some("writer"));
        assert_eq!(kind_of(&bytes), Some("step-intent"));
        assert_eq!(kind_of(&encoded(&draft, u64::MAX, &ZERO)), Some("step-intent"));
        assert_eq!(entry.at(), Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(WALL_NS)));
        // Computed with `printf | sha256sum`, not with this code.
        assert_eq!(
            hex(&hash_after(&ZERO, b"abc")),
            "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370"
        );
    }

    // REQ C11
    #[test]
    fn the_head_goes_into_the_body() {
        for body in [json!({}), json!({ "clean": true, "journal_head": "forged" })] {
            let Value::Object(map) = body else { panic!() };
            let clean = map.get("clean").cloned();
            let draft = Draft::with_head("report", map, "journal_head");
            let hash = hash_after(&ZERO, b"before");
            let entry = Entry::parse(&encoded(&draft, u64::MAX, &hash)).unwrap();
            assert_eq!(entry.body["journal_head"], json!(hex(&hash)));
            assert_eq!(entry.body.get("clean").cloned(), clean);
            assert_eq!((entry.prev, entry.entry), (hex(&hash), u64::MAX));
        }
    }

    // REQ C11
    #[test]
    fn a_body_that_is_too_long_leaves_its_length_and_hash() {
        let text = "x".repeat(ENTRY_BYTES_MAX);
        for with_head in [false, true] {
            let mut map = Map::new();
            map.insert("text".to_owned(), json!(text));
            let draft = if with_head {
                Draft::with_head("k", map, "head")
            } else {
                Draft::of("k", None, None, &Value::Object(map))
            };
            let bytes = encoded(&draft, 1, &ZERO);
            assert!(bytes.len() < 1000);
            let entry = Entry::parse(&bytes).unwrap();
            assert_eq!(entry.body["omitted_bytes"], json!(ENTRY_BYTES_MAX + 11));
            assert_eq!(entry.body.get("head").is_some(), with_head);
        }
    }

    // REQ C11
    #[test]
    fn a_body_without_a_form_leaves_why() {
        let body = std::collections::BTreeMap::from([((1, 2), "a pair is no key")]);
        let entry = Entry::parse(&encoded(&Draft::of("k", None, None, &body), 1, &ZERO)).unwrap();
        assert!(entry.body["unwritable"].as_str().unwrap().contains("key"), "{:?}", entry.body);
    }

    // REQ C11, REQ C18
    #[test]
    fn only_whole_hashes_and_known_versions_are_read() {
        let hash = hash_after(&ZERO, b"x");
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        assert_eq!(hex_digits(&hash).as_slice(), hex(&hash).as_bytes());
        for wrong in ["", "0", &hex(&hash)[1..], &hex(&hash).to_uppercase(), &format!("{}0", hex(&hash)), "é"]
        {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        let of = |v: u64| {
            format!(
                r#"{{"v":{v},"entry":1,"time":"","kind":"","channel":null,"component":"c","prev":"","body":{{}}}}"#
            )
        };
        assert_eq!(Entry::parse(of(1).as_bytes()).unwrap().component, None);
        assert_eq!(Entry::parse(of(2).as_bytes()).unwrap().component.as_deref(), Some("c"));
        for v in [0, 3] {
            assert!(Entry::parse(of(v).as_bytes()).unwrap_err().contains(&format!("version {v}")));
        }
        let of_other_fields = br#"{"v":4,"number":1}"#;
        assert!(Entry::parse(of_other_fields).unwrap_err().contains("version 4"));
        assert!(Entry::parse(b"{}").is_err());
        assert!(kind_of(b"{}").is_none() && kind_of(of(3).as_bytes()).is_none());
    }
}
