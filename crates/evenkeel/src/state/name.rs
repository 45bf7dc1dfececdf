//! What a machine is called: its name, and whose it is.

use std::fmt;
use std::sync::Arc;

/// The name of a machine, with the channel and the component that it belongs to. As text: `left/mic: power`.
///
/// ```
/// use evenkeel::state::MachineName;
///
/// let name = MachineName::new(Some("left"), Some("mic"), "power");
/// assert_eq!(name.to_string(), "left/mic: power");
/// assert_eq!(MachineName::new(None, None, "mode").to_string(), "mode");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(Arc<Parts>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    channel: Option<Box<str>>,
    component: Option<Box<str>>,
    name: Box<str>,
}

impl MachineName {
    /// That of a machine; whether there is one is for [`States`](super::States) to say.
    pub fn new(channel: Option<&str>, component: Option<&str>, name: &str) -> Self {
        let (channel, component) = (channel.map(Box::from), component.map(Box::from));
        Self(Arc::new(Parts { channel, component, name: name.into() }))
    }

    /// The channel, unless it is shared.
    pub fn channel(&self) -> Option<&str> {
        self.0.channel.as_deref()
    }

    /// The component, if it is one's.
    pub fn component(&self) -> Option<&str> {
        self.0.component.as_deref()
    }

    /// The name alone.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.channel(), self.component()) {
            (Some(channel), Some(component)) => write!(f, "{channel}/{component}: ")?,
            (Some(one), None) | (None, Some(one)) => write!(f, "{one}: ")?,
            (None, None) => {}
        }
        f.write_str(self.name())
    }
}
