//! A fault as it is written down: with its class for who reads it elsewhere, which is not believed when it is read back.

use super::{Causes, Code, Fault, FaultClass, Name, Severity, Site, Text, Trail};
use crate::Mono;
use crate::cleanup::Phase;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    code: Code,
    #[serde(default, skip_deserializing)]
    class: Option<FaultClass>,
    severity: Severity,
    component: Option<Name>,
    channel: Option<Name>,
    #[serde(with = "phase")]
    phase: Option<Phase>,
    step: Option<Text>,
    causes: Causes,
    site: Option<Site>,
    #[serde(rename = "at_ns", with = "nanos")]
    at: Mono,
    unix_ns: Option<u64>,
    done: Trail,
}

impl From<Fault> for Stored {
    fn from(fault: Fault) -> Self {
        let class = Some(fault.class());
        let Fault { code, severity, component, channel, phase, step, causes, site, at, unix_ns, done } =
            fault;
        Self { code, class, severity, component, channel, phase, step, causes, site, at, unix_ns, done }
    }
}

impl From<Stored> for Fault {
    fn from(stored: Stored) -> Self {
        let Stored {
            code, severity, component, channel, phase, step, causes, site, at, unix_ns, done, ..
        } = stored;
        Self { code, severity, component, channel, phase, step, causes, site, at, unix_ns, done }
    }
}

/// A moment as its number.
pub(super) mod nanos {
    use crate::Mono;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(at: &Mono, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_nanos())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mono, D::Error> {
        u64::deserialize(deserializer).map(Mono::from_nanos)
    }
}

/// A phase as its name.
mod phase {
    use crate::cleanup::Phase;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(phase: &Option<Phase>, serializer: S) -> Result<S::Ok, S::Error> {
        phase.map(Phase::name).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Phase>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let phase = Phase::ALL.into_iter().find(|phase| phase.name() == name);
        phase
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom(format_args!("{name:?} is no phase of a cleanup")))
    }
}
