//! One entry: its bytes, and the hash that chains it to the one before.
//!
//! Byte format: one JSON object without a line break, its keys in this order:
//!
//! ```text
//! {"v":1,"entry":N,"time":"2026-11-21T09:30:00.123456789Z","kind":"..","channel":null,"prev":"<64 hex>","body":{..}}
//! ```
//!
//! `hash(n) = SHA-256(hash(n - 1) as 32 bytes, the bytes of entry n)`, `prev` is
//! `hash(n - 1)`, and `hash(0)` is zeroes. A reader takes other keys as they come
//! and refuses another `v`: it never guesses.

use evenkeel_log::hex;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

/// A SHA-256.
pub(super) type Hash = [u8; 32];
/// The hash before the first entry.
pub(super) const ZERO: Hash = [0; 32];
/// Version of the format.
const VERSION: u64 = 1;
/// Longest entry in bytes. A body that makes it longer is replaced by its length and hash.
pub const ENTRY_BYTES_MAX: usize = evenkeel_log::MESSAGE_BYTES_MAX;
/// More than `v`, `entry`, `time`, `prev` and all punctuation take, in bytes.
const FRAME_BYTES: usize = 256;

/// The hash after an entry.
pub(super) fn hash_after(before: &Hash, payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(payload);
    hasher.finalize().into()
}

/// The hash that 64 lower-case digits say.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let bytes: Vec<u8> =
        (0..32).map_while(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect();
    let hash: Hash = bytes.try_into().ok()?;
    (hex(&hash) == text).then_some(hash)
}

/// An entry as it is read back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Its number, counted from 1 for ever.
    pub entry: u64,
    /// When it was appended, RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// What it is about, such as `step-intent`.
    pub kind: String,
    /// The channel it is about, if one.
    pub channel: Option<String>,
    /// The hash before it, 64 hexadecimal digits.
    pub prev: String,
    /// What it says.
    pub body: Value,
    /// Its bytes, as they are hashed.
    pub payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Fields {
    v: u64,
    entry: u64,
    time: String,
    kind: String,
    channel: Option<String>,
    prev: String,
    body: Value,
}

impl Entry {
    /// Reads the bytes of an entry; the error says why they are none.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let fields: Fields = serde_json::from_slice(payload).map_err(|e| format!("not an entry: {e}"))?;
        let Fields { v, entry, time, kind, channel, prev, body } = fields;
        if v != VERSION {
            return Err(format!("of version {v}; this program reads version {VERSION}"));
        }
        Ok(Self { entry, time, kind, channel, prev, body, payload: payload.to_vec() })
    }

    /// [`Entry::time`], or `None` when that is no time.
    pub fn at(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.time).ok()
    }
}

/// An entry but for its number, time and place in the chain: made outside the lock.
pub(crate) struct Draft {
    /// `,"kind":"..","channel":..,"prev":"`
    middle: Vec<u8>,
    /// What follows the hash: `","body":`, and with a field for the head the beginning of the object.
    body_head: Vec<u8>,
    /// The rest of the object, after the head where there is a field for it.
    body: Vec<u8>,
    takes_head: bool,
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: strings, maps of strings and JSON values have a JSON form")
}

impl Draft {
    pub(super) fn new(kind: &str, channel: Option<&str>, body: &Value) -> Self {
        let mut body = json(body);
        if body.len() + kind.len() + channel.map_or(0, str::len) + FRAME_BYTES > ENTRY_BYTES_MAX {
            body = json(&omitted(&body));
        }
        let body_head = br#"","body":"#.to_vec();
        Self { middle: middle(kind, channel), body_head, body, takes_head: false }
    }

    /// One whose body tells, as `field`, the hash before it.
    pub(crate) fn with_head(kind: &str, mut body: Map<String, Value>, field: &str) -> Self {
        body.remove(field);
        let mut rest = json(&body);
        if rest.len() + kind.len() + field.len() + FRAME_BYTES > ENTRY_BYTES_MAX {
            rest = json(&omitted(&rest));
        }
        let mut body_head = br#"","body":{"#.to_vec();
        body_head.extend(json(field));
        body_head.extend(br#":""#);
        // The rest is an object: what follows its brace follows the head.
        let rest = if rest == b"{}" { br#""}"#.to_vec() } else { [br#"","#, &rest[1..]].concat() };
        Self { middle: middle(kind, None), body_head, body: rest, takes_head: true }
    }

    /// Bytes that it will take, at most.
    pub(super) fn bytes(&self) -> usize {
        self.middle.len() + self.body_head.len() + self.body.len() + FRAME_BYTES
    }

    pub(super) fn encode(&self, entry: u64, wall_ns: u64, prev: &Hash) -> Vec<u8> {
        let time = humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + Duration::from_nanos(wall_ns));
        let prev = hex(prev);
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(format!(r#"{{"v":{VERSION},"entry":{entry},"time":"{time}""#).as_bytes());
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(prev.as_bytes());
        out.extend_from_slice(&self.body_head);
        if self.takes_head {
            out.extend_from_slice(prev.as_bytes());
        }
        out.extend_from_slice(&self.body);
        out.push(b'}');
        out
    }
}

fn middle(kind: &str, channel: Option<&str>) -> Vec<u8> {
    let mut out = br#","kind":"#.to_vec();
    out.extend(json(kind));
    out.extend(br#","channel":"#);
    out.extend(json(&channel));
    out.extend(br#","prev":""#);
    out
}

/// What stands for a body that is too long.
fn omitted(body: &[u8]) -> Value {
    serde_json::json!({ "omitted_bytes": body.len(), "omitted_sha256": hex(&Sha256::digest(body)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WALL_NS: u64 = 1_795_253_400_123_456_789;

    // REQ C11
    #[test]
    fn the_format_stays_as_it_is() {
        let draft = Draft::new("step-intent", Some("le\"ft"), &json!({ "b": [1, null], "a": "x" }));
        let bytes = draft.encode(7, WALL_NS, &ZERO);
        let zeroes = "0".repeat(64);
        let expected = format!(
            r#"{{"v":1,"entry":7,"time":"2026-11-21T09:30:00.123456789Z","kind":"step-intent","channel":"le\"ft","prev":"{zeroes}","body":{{"a":"x","b":[1,null]}}}}"#
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert!(bytes.len() <= draft.bytes());
        let entry = Entry::parse(&bytes).unwrap();
        assert_eq!((entry.entry, entry.channel.as_deref()), (7, Some("le\"ft")));
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
            let entry = Entry::parse(&draft.encode(u64::MAX, WALL_NS, &hash)).unwrap();
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
                Draft::new("k", None, &Value::Object(map))
            };
            let bytes = draft.encode(1, WALL_NS, &ZERO);
            assert!(bytes.len() < 1000);
            let entry = Entry::parse(&bytes).unwrap();
            assert_eq!(entry.body["omitted_bytes"], json!(ENTRY_BYTES_MAX + 11));
            assert_eq!(entry.body.get("head").is_some(), with_head);
        }
    }

    #[test]
    fn only_whole_hashes_and_known_versions_are_read() {
        let hash = hash_after(&ZERO, b"x");
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        for wrong in ["", "0", &hex(&hash)[1..], &hex(&hash).to_uppercase(), &format!("{}0", hex(&hash)), "é"]
        {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        let of_another = br#"{"v":2,"entry":1,"time":"","kind":"","channel":null,"prev":"","body":{}}"#;
        assert!(Entry::parse(of_another).unwrap_err().contains("version 2"));
        assert!(Entry::parse(b"{}").is_err());
    }
}
