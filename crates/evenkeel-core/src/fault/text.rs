//! Texts that are private and bounded.

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt::{self, Write};

/// Most bytes of a text, the mark included.
pub const TEXT_BYTES_MAX: usize = 512;
/// Most causes of a fault that are kept.
pub const CAUSES_MAX: usize = 8;
/// So many causes are looked at; a chain that is longer, or goes round, ends there.
const WALK_MAX: usize = 64;
/// What a text that was cut ends with.
const MARK: &str = " [cut]";

/// A private text of at most [`TEXT_BYTES_MAX`] bytes. A longer one is cut, and ends with ` [cut]`.
///
/// ```
/// use evenkeel_core::fault::{TEXT_BYTES_MAX, Text};
/// let text = Text::from("ä".repeat(10_000).as_str());
/// assert!(text.as_str().len() <= TEXT_BYTES_MAX && text.as_str().ends_with(" [cut]"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Text(Box<str>);

impl Text {
    /// What `value` displays. No more is asked of it than has room.
    pub fn of(value: &(impl fmt::Display + ?Sized)) -> Self {
        let mut bounded = Bounded { text: String::new(), is_cut: false };
        // An error is either ours, which says that it is full, or the value's, which has said what it could.
        let _ = write!(bounded, "{value}");
        bounded.finish()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.len() <= TEXT_BYTES_MAX { Self(text.into()) } else { Self::of(text) }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Takes what has room, then refuses.
struct Bounded {
    text: String,
    is_cut: bool,
}

impl Bounded {
    fn finish(mut self) -> Text {
        if self.is_cut {
            self.text.truncate(self.text.floor_char_boundary_at(TEXT_BYTES_MAX - MARK.len()));
            self.text.push_str(MARK);
        }
        Text(self.text.into_boxed_str())
    }
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX - self.text.len();
        let fits = part.floor_char_boundary_at(room);
        self.text.push_str(&part[..fits]);
        self.is_cut |= fits < part.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// `str::floor_char_boundary` is younger than the oldest compiler that is supported.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        if at >= self.len() {
            return self.len();
        }
        (0..=at).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// Why something happened, from the outermost error to the root: at most [`CAUSES_MAX`] texts. Of a longer
/// chain the outermost and the root are kept.
///
/// ```
/// use evenkeel_core::fault::Causes;
/// let parsed = "x".parse::<u8>().unwrap_err();
/// assert_eq!(Causes::of(&parsed).texts()[0].as_str(), "invalid digit found in string");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Causes {
    texts: Vec<Text>,
    /// Causes that were left out before the last one.
    left_out: u32,
}

/// As it is stored, by whomever.
#[derive(Deserialize)]
struct Kept {
    texts: Vec<Text>,
    left_out: u32,
}

impl From<Kept> for Causes {
    fn from(kept: Kept) -> Self {
        let mut causes = Self::default();
        kept.texts.into_iter().for_each(|text| causes.push(text));
        causes.left_out = causes.left_out.saturating_add(kept.left_out);
        causes
    }
}

impl Causes {
    /// An error and what it came from. A chain is followed for 64 errors.
    pub fn of(error: &dyn Error) -> Self {
        let mut causes = Self::default();
        let mut next = Some(error);
        for _ in 0..WALK_MAX {
            let Some(error) = next else { break };
            next = error.source();
            // Those in the middle of a long chain are not even asked for their text.
            if causes.texts.len() == CAUSES_MAX && next.is_some() {
                causes.left_out += 1;
            } else {
                causes.push(Text::of(error));
            }
        }
        causes
    }

    /// One text without a chain, as a panic has it.
    pub fn text(text: impl Into<Text>) -> Self {
        Self { texts: vec![text.into()], left_out: 0 }
    }

    /// Adds a cause that lies deeper than those before.
    pub fn push(&mut self, text: Text) {
        if self.texts.len() == CAUSES_MAX {
            self.texts.pop();
            self.left_out = self.left_out.saturating_add(1);
        }
        self.texts.push(text);
    }

    /// What is kept: the outermost ones, and last the root.
    pub fn texts(&self) -> &[Text] {
        &self.texts
    }

    /// How many were left out before the last one.
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }
}
