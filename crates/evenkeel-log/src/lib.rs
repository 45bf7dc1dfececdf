//! A durable, append-only log in standard MCAP files.
#![doc = ""]

mod batch;
mod catalog;
mod commit;
mod export;
mod gap;
mod mcap;
mod salvage;
mod scan;
mod segment;
#[cfg(feature = "sim")]
pub mod sim;
pub mod storage;
mod verify;
mod writer;

pub use batch::{Batch, PAYLOAD_BYTES_MAX};
pub use commit::{ChannelState, SourcePosition};
pub use export::{Exported, Selection, channel_names, export};
pub use gap::{GAPS_CHANNEL, Gap, GapReason};
pub use salvage::{Action, Recovered, Recovery, recover, seal_given_up};
pub use scan::Damage;
pub use segment::{part_name, sealed_name};
pub use verify::{ChannelReport, Outcome, SegmentReport, Verification, verify, verify_segment};
pub use writer::{
    BALLAST_NAME, Ballast, ChannelId, Condition, GivenUp, Job, JobDone, LogOptions, LogWriter, OCTETS,
    Progress, Resume, SealedSegment, Stamp, StreamId, TEXT,
};
