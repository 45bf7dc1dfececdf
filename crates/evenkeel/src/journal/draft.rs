//! An entry but for its number, time and place in the chain: drawn up outside of every lock.

use super::entry::{ENTRY_BYTES_MAX, Hash, VERSION, hex_digits};
use super::time::{Times, push_number};
use super::weight::Weight;
use evenkeel_log::hex;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::cell::Cell;

/// More than `v`, `entry`, `time`, `prev` and all punctuation take, in bytes.
const FRAME_BYTES: usize = 288;
/// A longer text is not kept to be used again.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// Most drafts fit without growing.
const TEXT_BYTES: usize = 512;
/// What is longer of a kind, of a channel's name or of a component's is cut off, and how much is said.
const NAME_BYTES_MAX: usize = 16 << 10;
/// Arrays and objects in one another that are written: whoever reads JSON stops at 128, the entry itself included.
pub(super) const DEPTH_MAX: usize = 120;

thread_local! {
    /// The text of a draft that is no more, to be used again.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An entry that is drawn up, to be appended.
pub(crate) struct Draft {
    /// `,"kind":"..","channel":..,"component":..,"prev":"` and, from `prev_at` on, `","body":..}`.
    text: Vec<u8>,
    /// Where the hash before the entry goes.
    prev_at: usize,
    /// Where it goes again: for a body that tells it.
    head_at: Option<usize>,
    weight: Weight,
    kind: Kind,
}

/// What is told of an entry that is refused: the beginning of its kind.
pub(super) type Kind = [u8; 24];

impl Drop for Draft {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.capacity() <= KEPT_BYTES_MAX {
            // Of a thread that ends it may be gone by now.
            let _ = SPARE.try_with(|spare| spare.set(text));
        }
    }
}

/// Writes the JSON form; what has none, or none that can be read back, leaves the reason in its place.
fn push_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let begin = out.len();
    let why = match serde_json::to_writer(&mut *out, value) {
        Ok(()) if is_too_deep(&out[begin..]) => format!("more than {DEPTH_MAX} levels deep"),
        Ok(()) => return,
        Err(e) => e.to_string(),
    };
    out.truncate(begin);
    let what = serde_json::json!({ "unwritable": why });
    serde_json::to_writer(out, &what).expect("invariant: an object of one string has a JSON form");
}

/// Whether a JSON text has more levels than are read back.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    // Nearly always there are too few that begin, which is soon counted.
    if json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match (is_text, byte) {
            _ if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_text = !is_text,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > DEPTH_MAX
}

/// A name as it is written: whole, unless it is too long to be one.
fn name(text: &str) -> Cow<'_, str> {
    if text.len() <= NAME_BYTES_MAX {
        return text.into();
    }
    let mut end = NAME_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} (cut: {} bytes)", &text[..end], text.len()).into()
}

/// What stands for a body that is too long.
fn omitted(body: &[u8]) -> Value {
    serde_json::json!({ "omitted_bytes": body.len(), "omitted_sha256": hex(&Sha256::digest(body)) })
}

impl Draft {
    /// One about a channel and a component of it, or about neither. A body without a JSON form leaves why.
    pub(crate) fn of(
        kind: &str,
        channel: Option<&str>,
        component: Option<&str>,
        body: &(impl Serialize + ?Sized),
    ) -> Self {
        let mut draft = Self::begin(kind, channel, component);
        let body_at = draft.text.len();
        push_json(&mut draft.text, body);
        draft.bound(body_at);
        draft.text.push(b'}');
        draft
    }

    /// One whose body tells, as `field`, the hash before it.
    pub(crate) fn with_head(kind: &str, mut body: Map<String, Value>, field: &str) -> Self {
        body.remove(field);
        let mut draft = Self::begin(kind, None, None);
        draft.text.push(b'{');
        push_json(&mut draft.text, field);
        draft.text.extend_from_slice(br#":""#);
        draft.head_at = Some(draft.text.len());
        draft.text.push(b'"');
        // What follows is an object: its brace becomes a comma, or goes.
        let rest_at = draft.text.len();
        push_json(&mut draft.text, &body);
        draft.bound(rest_at);
        if draft.text[rest_at..] == *b"{}" {
            draft.text.truncate(rest_at);
            draft.text.push(b'}');
        } else {
            draft.text[rest_at] = b',';
        }
        draft.text.push(b'}');
        draft
    }

    fn begin(kind: &str, channel: Option<&str>, component: Option<&str>) -> Self {
        let mut text = SPARE.try_with(Cell::take).unwrap_or_default();
        text.clear();
        text.reserve(TEXT_BYTES);
        text.extend_from_slice(br#","kind":"#);
        push_json(&mut text, &name(kind));
        text.extend_from_slice(br#","channel":"#);
        push_json(&mut text, &channel.map(name));
        text.extend_from_slice(br#","component":"#);
        push_json(&mut text, &component.map(name));
        text.extend_from_slice(br#","prev":""#);
        let prev_at = text.len();
        text.extend_from_slice(br#"","body":"#);
        let mut told = Kind::default();
        let known = kind.len().min(told.len());
        told[..known].copy_from_slice(&kind.as_bytes()[..known]);
        Self { text, prev_at, head_at: None, weight: Weight::of(kind), kind: told }
    }

    /// Puts its length and hash in the place of a body that is too long.
    fn bound(&mut self, body_at: usize) {
        if self.text.len() + FRAME_BYTES > ENTRY_BYTES_MAX {
            let instead = omitted(&self.text[body_at..]);
            self.text.truncate(body_at);
            push_json(&mut self.text, &instead);
        }
    }

    /// The same with another weight than its kind has.
    pub(crate) fn weighing(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes that it will take, at most.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + FRAME_BYTES
    }

    /// Appends the bytes of the entry to `out`.
    pub(super) fn encode(
        &self,
        out: &mut Vec<u8>,
        times: &mut Times,
        (entry, wall_ns): (u64, u64),
        prev: &Hash,
    ) {
        let prev = hex_digits(prev);
        out.reserve(self.bytes());
        out.extend_from_slice(br#"{"v":"#);
        push_number(out, VERSION);
        out.extend_from_slice(br#","entry":"#);
        push_number(out, entry);
        out.extend_from_slice(br#","time":""#);
        out.extend_from_slice(times.text(wall_ns));
        out.push(b'"');
        out.extend_from_slice(&self.text[..self.prev_at]);
        out.extend_from_slice(&prev);
        let mut rest_at = self.prev_at;
        if let Some(head_at) = self.head_at {
            out.extend_from_slice(&self.text[rest_at..head_at]);
            out.extend_from_slice(&prev);
            rest_at = head_at;
        }
        out.extend_from_slice(&self.text[rest_at..]);
    }
}
