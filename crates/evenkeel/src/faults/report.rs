//! Reporting a fault: from any thread, at once, without waiting for anybody.

use super::Inner;
use super::lane::Lane;
use crate::callback::call;
use crate::clock;
use evenkeel_core::cleanup::Phase;
use evenkeel_core::fault::{Causes, Code, Fault, Name, Severity, Site, Text};
use evenkeel_core::supervision::FaultId;
use evenkeel_hierarchy::with_root;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Whose a fault is.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) lane: Arc<Lane>,
    pub(super) component: Option<Name>,
}

/// A fault on its way: what is known of it is added, then it is [reported](Self::report).
///
/// Everything but channel, component, code and severity is private: it goes into the journal, and nowhere else.
///
/// ```
/// use evenkeel::faults::{Code, Severity};
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let keel = Keel::builder("example").without_signals().keep_process().build()?;
/// let left = keel.channel("left")?;
/// let error = std::io::Error::other("/dev/ada/mic0 is gone");
/// left.fault(Code::SOURCE, Severity::Error).component("mic").cause(&error).report();
///
/// let told = left.last_fault().unwrap().to_string();
/// assert!(told.starts_with("EK-0203 error in left/mic: "));
/// assert!(!told.contains("ada"));
/// # keel.stop("the example is over", "the example");
/// # Ok(())
/// # }
/// ```
#[must_use = "a fault that is not reported is known to nobody"]
pub struct FaultBuilder {
    inner: Arc<Inner>,
    lane: Arc<Lane>,
    fault: Fault,
}

impl fmt::Debug for FaultBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its private face is for the journal alone.
        f.debug_tuple("FaultBuilder").field(&self.fault.public_face()).finish()
    }
}

impl FaultBuilder {
    #[track_caller]
    pub(super) fn new(inner: &Arc<Inner>, whose: &Whose, code: Code, severity: Severity) -> Self {
        let fault = Fault {
            channel: whose.lane.name.clone(),
            component: whose.component.clone(),
            site: Some(Site::here()),
            unix_ns: Some(clock::wall_ns()),
            ..Fault::new(code, severity, clock::mono())
        };
        Self { inner: inner.clone(), lane: whose.lane.clone(), fault }
    }

    /// The component that failed. One that cannot be a name is left out.
    pub fn component(mut self, name: &str) -> Self {
        self.fault.component = Name::new(name).ok();
        self
    }

    /// The error that it came from, with what that came from. One that panics when it is asked for its text is passed
    /// over.
    pub fn cause(self, error: &(dyn Error + 'static)) -> Self {
        let causes = with_root(|house| call(house, || Causes::of(error)));
        self.causes(
            causes.unwrap_or_else(|_| Causes::text("its error panicked when it was asked for its text")),
        )
    }

    /// The same in words.
    pub fn text(self, text: impl Into<Text>) -> Self {
        self.causes(Causes::text(text))
    }

    pub(crate) fn causes(mut self, causes: Causes) -> Self {
        self.fault.causes = causes;
        self
    }

    /// The step in which it happened.
    pub fn step(mut self, step: impl Into<Text>) -> Self {
        self.fault.step = Some(step.into());
        self
    }

    /// The phase of a stop in which it happened.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.fault.phase = Some(phase);
        self
    }

    pub(super) fn into_fault(self) -> Fault {
        self.fault
    }

    /// Reports it. Never waits: what a channel reports beyond its room is counted and told as a sum.
    pub fn report(self) -> FaultId {
        let id = self.inner.next_id();
        self.lane.put(id, self.fault);
        self.inner.inbox.ring();
        id
    }
}
