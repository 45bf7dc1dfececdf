//! What an entry weighs: whether it may be shed when the queue fills.

/// Whether an entry may be shed when the queue fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Shed first, counted, and told by the entry that tells of the gap.
    Note,
    /// Must not be lost silently: it may use all of the queue, and one that does not fit is refused to its caller.
    Record,
}

/// Kinds that are records; those of commands begin with `child`.
const RECORDS: [&str; 22] = [
    "start",
    "signal",
    "stop",
    "phase",
    "step-intent",
    "step-outcome",
    "report",
    "recording",
    "control",
    "retention",
    "state",
    "state-flapping",
    "fault",
    "fault-summary",
    "measure",
    "recovery",
    "snapshot",
    "checkpoint",
    "anchor",
    "decision",
    "audit",
    "journal-gap",
];

impl Weight {
    /// What an entry of a kind weighs; one of a kind that the house does not know is a note.
    ///
    /// ```
    /// use evenkeel::journal::Weight;
    ///
    /// assert_eq!(Weight::of("step-intent"), Weight::Record);
    /// assert_eq!(Weight::of("my-own-kind"), Weight::Note);
    /// ```
    #[must_use]
    pub fn of(kind: &str) -> Self {
        if kind.starts_with("child") || RECORDS.contains(&kind) { Self::Record } else { Self::Note }
    }
}
