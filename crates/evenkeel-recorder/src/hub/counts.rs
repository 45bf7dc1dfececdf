//! What every channel has taken in and stored, and what does not add up.

/// How a channel's source does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It is read, or waits for something to read.
    #[default]
    Running,
    /// Its command failed and is about to be run again.
    Restarting,
    /// It has come to its end.
    Ended,
    /// It failed, and is read no more.
    Failed,
    /// A stop has ended it.
    Stopped,
}

/// What a channel has taken in and stored, in this run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    /// Its name.
    pub name: String,
    /// Records read and numbered.
    pub accepted_records: u64,
    /// Their payload bytes.
    pub accepted_bytes: u64,
    /// Records acknowledged: safe at the channel's level.
    pub committed_records: u64,
    /// Their payload bytes.
    pub committed_bytes: u64,
    /// Records on the disk.
    pub stored_records: u64,
    /// Their payload bytes.
    pub stored_bytes: u64,
    /// Records dropped and declared.
    pub dropped_records: u64,
    /// Their payload bytes.
    pub dropped_bytes: u64,
    /// Records of these whose gap has not been handed to the log yet.
    pub undeclared_records: u64,
    /// Records that came after the intake was closed: never accepted, not stored.
    pub refused_records: u64,
    /// Their payload bytes.
    pub refused_bytes: u64,
    /// Gaps declared.
    pub gaps: u64,
    /// Accepted records that the log has not taken out of the queue yet.
    pub queued_records: u64,
    /// Their payload bytes.
    pub queued_bytes: u64,
    /// Datagrams that the kernel dropped before they could be read; only of `udp:` sources.
    pub kernel_dropped: Option<u64>,
    /// Times that its command was run again.
    pub restarts: u64,
    /// Bytes of memory that wait to be durable, or that its reader holds.
    pub held_bytes: usize,
    /// Whether a thread still reads the source.
    pub reading: bool,
    /// Whether the source has ended.
    pub ended: bool,
    /// Why the source failed for good, if it did.
    pub fault: Option<String>,
    /// What went wrong last, for good or not.
    pub last_fault: Option<String>,
    /// Whether its command is about to be run again.
    pub restarting: bool,
}

impl ChannelCounts {
    /// How its source does.
    pub fn condition(&self) -> Condition {
        match self {
            Self { fault: Some(_), .. } => Condition::Failed,
            Self { ended: true, .. } => Condition::Ended,
            Self { reading: false, .. } => Condition::Stopped,
            Self { restarting: true, .. } => Condition::Restarting,
            _ => Condition::Running,
        }
    }

    /// Whether everything accepted is on the disk or declared dropped.
    pub fn is_settled(&self) -> bool {
        self.accepted_records == self.stored_records + self.dropped_records
            && self.accepted_bytes == self.stored_bytes + self.dropped_bytes
            && self.undeclared_records == 0
    }

    /// Records and bytes stored or declared dropped.
    pub(crate) fn told(&self) -> (u64, u64) {
        let records = self.stored_records + self.dropped_records - self.undeclared_records;
        (records, self.stored_bytes + self.dropped_bytes)
    }

    /// What went wrong with the channel, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let name = &self.name;
        let mut faults = Vec::new();
        faults.extend(self.fault.as_ref().map(|fault| format!("{name}: {fault}")));
        if self.refused_records > 0 {
            let (records, bytes) = (self.refused_records, self.refused_bytes);
            faults.push(format!(
                "{name}: {records} records ({bytes} bytes) were read after the intake was closed, and refused"
            ));
        }
        if !self.is_settled() {
            let (records, bytes) = (self.accepted_records, self.accepted_bytes);
            let (told_records, told_bytes) = self.told();
            faults.push(format!(
                "{name}: {records} records ({bytes} bytes) accepted, {told_records} ({told_bytes} bytes) \
                 stored or declared dropped"
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(accepted: (u64, u64), committed: (u64, u64), dropped: (u64, u64)) -> ChannelCounts {
        ChannelCounts {
            name: "x".to_owned(),
            accepted_records: accepted.0,
            accepted_bytes: accepted.1,
            stored_records: committed.0,
            stored_bytes: committed.1,
            dropped_records: dropped.0,
            dropped_bytes: dropped.1,
            ..ChannelCounts::default()
        }
    }

    // REQ W2, REQ E1
    #[test]
    fn what_does_not_add_up_is_a_fault() {
        assert_eq!(counts((5, 50), (5, 50), (0, 0)).faults(), [""; 0]);
        assert_eq!(counts((5, 50), (3, 30), (2, 20)).faults(), [""; 0]);
        for (wrong, told) in [
            (counts((5, 50), (4, 40), (0, 0)), "4 (40 bytes)"),
            (counts((5, 50), (4, 40), (2, 20)), "6 (60 bytes)"),
            // As many records, but not the same bytes.
            (counts((5, 50), (5, 49), (0, 0)), "5 (49 bytes)"),
        ] {
            let faults = wrong.faults();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("x: 5 records (50 bytes) accepted, "), "{faults:?}");
            assert!(faults[0].contains(told), "{faults:?}");
        }
    }

    // REQ E1
    #[test]
    fn a_fault_and_a_refusal_are_told_by_name() {
        let of = ChannelCounts {
            fault: Some("it broke".to_owned()),
            refused_records: 2,
            ..counts((0, 0), (0, 0), (0, 0))
        };
        let faults = of.faults();
        assert_eq!(faults[0], "x: it broke");
        assert!(faults[1].starts_with("x: 2 records (0 bytes) were read after"), "{faults:?}");
    }
}
