//! Why something changed, in a few words.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Most bytes of a cause: history is bounded in bytes too.
const BYTES_MAX: usize = 256;

/// Why something changed: a literal, or a text that is shared. What is longer than 256 bytes is cut.
///
/// ```
/// use evenkeel_core::state::Cause;
/// assert_eq!(&*Cause::from("a signal"), "a signal");
/// assert_eq!(Cause::from("x".repeat(300)).len(), 256);
/// ```
#[derive(Clone)]
pub struct Cause(Text);

#[derive(Clone)]
enum Text {
    Literal(&'static str),
    Shared(Arc<str>),
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl From<&'static str> for Cause {
    fn from(text: &'static str) -> Self {
        Self(Text::Literal(cut(text)))
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self(Text::Shared(Arc::from(cut(&text))))
    }
}

impl Deref for Cause {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Literal(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Cause {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
