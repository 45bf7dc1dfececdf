//! The one registry of codes. A code that was ever released keeps its meaning; a new one is added, none is reused.
//!
//! `EK-ccnn`: `cc` is the class (its place in [`FaultClass::ALL`] and one), `nn` the fault, 00 the class in general.

use super::FaultClass;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A stable code such as `EK-1001`. Its class is in it, also of a code that only a later version knows.
///
/// ```
/// use evenkeel_core::fault::{Code, FaultClass};
/// let code: Code = "EK-1001".parse().unwrap();
/// assert_eq!((code, code.class()), (Code::STORAGE_FULL, FaultClass::Storage));
/// assert!("EK-9901".parse::<Code>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

/// Why a text is no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no code: EK- and four digits are allowed, from EK-0100 to EK-1099")]
pub struct CodeError {
    /// What was given, cut to 32 characters.
    pub given: String,
}

/// What there is to say about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// What to do about it.
    pub what_to_do: &'static str,
}

impl Code {
    /// Its number, as in its text.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its class.
    pub const fn class(self) -> FaultClass {
        FaultClass::ALL[self.0 as usize / 100 - 1]
    }

    /// The code of a class in general.
    pub const fn of_class(class: FaultClass) -> Self {
        Self((class.index() as u16 + 1) * 100)
    }

    /// Its entry in [`CODES`]; for a code that only a later version knows, that of its class in general.
    pub fn explanation(self) -> &'static Explanation {
        let find = |code: Self| CODES.binary_search_by_key(&code, |entry| entry.code);
        let at = find(self).or_else(|_| find(Self::of_class(self.class())));
        &CODES[at.expect("invariant: every class has its general code")]
    }

    /// Whether this version knows it.
    pub fn is_known(self) -> bool {
        self.explanation().code == self
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EK-{:04}", self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let digits = text.strip_prefix("EK-").filter(|digits| digits.len() == 4);
        let number = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number @ 100..=1099) => Ok(Self(number)),
            _ => Err(CodeError { given: text.chars().take(32).collect() }),
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes the constants and the table from one list.
macro_rules! codes {
    ($($name:ident $number:literal $title:literal, $meaning:literal, $what_to_do:literal;)*) => {
        impl Code {
            $(#[doc = concat!($title, ".")] pub const $name: Self = Self($number);)*
        }

        /// Every code that this version knows, in order.
        pub const CODES: &[Explanation] = &[
            $(Explanation { code: Code::$name, title: $title, meaning: $meaning, what_to_do: $what_to_do },)*
        ];
    };
}

codes! {
REGISTRATION 100 "something could not be registered",
    "A channel, component or cleanup step was refused when it was to be registered. Nothing that runs is affected.",
    "Look into the recovery log for what was refused and what is allowed, and correct the registration.";
NAME_TAKEN 101 "the name is taken",
    "Two channels, components or steps were to have the same name.",
    "Give one of them another name.";
DEPENDENCY_CYCLE 102 "what depends on it, it depends on",
    "The declared dependencies go round in a circle; the recovery log has the whole path.",
    "Remove one dependency of the circle.";
EXECUTION 200 "work failed",
    "A component reported an error. It is tried again, then the component is restarted, then its channel recovered.",
    "If it comes again, look into the recovery log for the cause.";
EXITED 201 "a component ended by itself",
    "A thread, task or process ended although nobody asked it to. It is restarted.",
    "Look into the recovery log and into the component's own output for why it ended.";
CRASH_LOOP 202 "a component keeps failing",
    "A component was restarted as often as it may be; its channel is recovered, and isolated if that does not help.",
    "Find out in the recovery log what fails, mend it, and release the channel.";
SOURCE 203 "a source cannot be read",
    "Reading from a file, a socket, a pipe or a device failed. What was read before it is safe; the other channels go on.",
    "Look into the recovery log for what the system said, and whether what is read from is still there.";
DEPENDENCY 300 "what it needs is not there",
    "Something that a component depends on failed or is not reachable. It is tried again at growing intervals.",
    "Look after the component or service that it depends on; this one goes on by itself.";
DEPENDENCY_RESTARTS 301 "what it needs is being restarted",
    "A component that this one depends on is restarted.",
    "Nothing, unless it lasts.";
COMPLETION 400 "a result is not what it must be",
    "Work ended without an error, and what it left was found wrong or not verified.",
    "Verify the recording, and look into the recovery log for what was found.";
VERIFICATION_FAILED 401 "a verification failed",
    "What was done was looked at, and is not in order.",
    "Verify the recording before relying on it.";
SECURITY 500 "something was not allowed",
    "Somebody did, or tried, what they may not do. The channel is isolated until it is released by hand.",
    "Find out in the recovery log who did what, then release the channel.";
ACCESS_DENIED 501 "access was refused",
    "A right that is needed is missing, or a caller has no right to what it asked for.",
    "Check the rights of the user that the program runs as, and of the caller.";
ISOLATION 600 "a channel reached for what is another's",
    "A channel used or altered what belongs to another channel. It is isolated; the other one is not affected.",
    "Report this as a defect of the channel's components, then release the channel.";
QUOTA_BREACHED 601 "a channel took more than its share",
    "A channel took more memory, threads or queue places than it may have.",
    "Raise the channel's quota, or make it need less.";
TIMEOUT 700 "something took too long",
    "Work did not end in its time. It is tried again, then the component is restarted.",
    "Raise the time limit if the work is known to need longer; otherwise look for what it waits for.";
SILENT 701 "a thread or task is silent",
    "No heartbeat came for the time stated for it: it waits for something, or hangs.",
    "The recovery log says what it was doing. Look for what it waits for.";
RUNAWAY 702 "a thread does not come to an end",
    "A thread uses a processor without a heartbeat, or more of it than it may.",
    "The recovery log says what it was doing. Look for a loop without an end.";
PANIC 800 "a component panicked",
    "A component's code panicked. The panic was caught, the component is restarted, the others go on.",
    "Report it to the component's author with the message in the recovery log.";
RESOURCE 900 "a resource is exhausted",
    "Memory, threads, descriptors or queue places ran out.",
    "Give the service more of it, or lower what it is to do at once.";
OUT_OF_MEMORY 901 "the memory budget is used up",
    "The channel or the service holds all the memory that it may have.",
    "Raise the memory budget, or find out why what is held is not stored faster.";
OUT_OF_DESCRIPTORS 902 "no more files or sockets can be opened",
    "The process has as many open descriptors as it may have.",
    "Raise the limit of open files (ulimit -n, or LimitNOFILE= of the service).";
HELD_TOO_LONG 903 "a resource is held for too long",
    "A component has not given a buffer, or what else is counted, back for longer than it may hold any. It is told again when that time has doubled.",
    "The recovery log says where it was taken, and for how long it is held. Find out what keeps it.";
NEVER_RETURNED 904 "a buffer was never given back",
    "A component, channel or service said that it is done, and still holds a buffer.",
    "The recovery log says who holds it and where it was taken. Report it to the component's author.";
WRITTEN_AFTER_RETURN 905 "a buffer was written after it was given back",
    "Memory that nobody held was changed: by a device or the system that was still writing, or by a defect.",
    "The recovery log says who had it last. Look for input or output that outlives its buffer.";
USAGE_HIGH 906 "a limit is near",
    "More than 70, 85 or 95 % of what there may be is in use. Nothing is refused yet.",
    "Raise the limit, or find out in the recovery log who holds how much.";
MEMORY_GROWS 907 "memory grows",
    "For at least an hour the process has taken more than a megabyte an hour from the system.",
    "Find out what grows; restart the service in a quiet moment if it does not end.";
MEMORY_WASTED 908 "memory is held in vain",
    "More than 5 % of the bytes of the buffers that are held were not asked for.",
    "Ask for what is needed, in chains, or give the pool tiers that fit.";
STORAGE 1000 "storage failed",
    "Writing, syncing or reading back failed. What was acknowledged is safe; the channel is recovered.",
    "Check the disk and the system log; verify the recording.";
STORAGE_FULL 1001 "the disk is full",
    "There is no room for more. What was acknowledged is safe; recording goes on when there is room.",
    "Make room on the disk, or let retention remove old segments earlier.";
STORAGE_DAMAGED 1002 "stored data is damaged",
    "What was stored reads back differently from what was written.",
    "Verify the recording, keep a copy, and replace the disk if it happens again.";
JOURNAL 1003 "the journal cannot be written",
    "Entries of the journal wait in memory, or are left out and counted. Recording and stopping go on without it.",
    "Check the disk that the journal is on; look into it for gaps when it is written again.";
}
