//! Durable, append-only logs in standard MCAP files.
//!
//! What is acknowledged is safe: its bytes and a commit record over them were
//! followed by a completed sync. What a crash left is found, cut at the last
//! commit, and its gap declared in the log itself; what is damaged stays visibly
//! damaged. Other MCAP readers open every sealed file.
//!
//! Nothing here starts a thread or reads a clock: [`LogWriter`] is a value that
//! one owner drives, and [`Job`]s are the syncs and seals that it hands out.
//!
//! ```
//! use evenkeel_log::storage::{DirStorage, Storage};
//! use evenkeel_log::{Batch, LogOptions, LogWriter, OCTETS, Outcome, Selection, Stamp, export, recover, verify};
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! # let dir = tempfile::tempdir()?;
//! let storage: Arc<dyn Storage> = Arc::new(DirStorage::open(dir.path())?);
//! let now = Stamp { wall_ns: 1_700_000_000_000_000_000, mono_ns: 0 };
//!
//! // Seals what a crash left, and says where to go on.
//! let resume = recover(&storage, now)?.resume;
//! let mut log = LogWriter::create(storage.clone(), LogOptions::default(), resume, now)?;
//! let channel = log.channel("left", OCTETS);
//! let stream = log.stream(channel, &[]);
//!
//! let first = log.state(channel).last_sequence + 1;
//! let mut batch = Batch::new(stream, first, vec![0; 4096]);
//! assert!(batch.push(b"hello", now.wall_ns));
//! log.append(batch, now);
//!
//! // A commit, then the sync that makes it safe: only now is it acknowledged.
//! let _ = log.commit(now);
//! if let Some(job) = log.sync() {
//!     let progress = log.complete(job.run(), now);
//!     assert_eq!(progress.synced[0].1.last_sequence, first);
//! }
//! for job in log.finish(now) {
//!     let _ = log.complete(job.run(), now);
//! }
//! assert_eq!(verify(&*storage, false, None)?.outcome, Outcome::Intact);
//!
//! let mut bytes = Vec::new();
//! let left = Selection { channel: "left".to_owned(), stream: None, segment: None };
//! export(&*storage, &left, &mut bytes)?;
//! assert_eq!(bytes, b"hello");
//! # Ok(())
//! # }
//! ```

mod batch;
mod catalog;
mod commit;
mod export;
mod gap;
mod mcap;
mod memory;
mod read;
mod readback;
mod retention;
mod salvage;
mod scan;
mod segment;
#[cfg(feature = "sim")]
pub mod sim;
pub mod storage;
mod verify;
mod writer;

pub use batch::{Batch, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use commit::{ChannelState, SourcePosition};
pub use export::{Exported, Selection, channel_names, export};
pub use gap::{GAPS_CHANNEL, Gap, GapReason};
pub use memory::Memory;
pub use read::{Backwards, Found, Piece, ReadSummary, read, segment_names};
pub use readback::{ReadBack, read_back};
pub use retention::{Anchor, RETENTION_KIND, SealedFile, remove_segments, sealed_segments};
pub use salvage::{Action, Recovered, Recovery, recover, seal_given_up};
pub use scan::Damage;
pub use segment::{hex, part_name, sealed_name};
pub use verify::{ChannelReport, Outcome, SegmentReport, Verification, verify, verify_segment, verify_with};
pub use writer::{
    BALLAST_NAME, Ballast, ChannelId, Condition, GivenUp, Job, JobDone, LogOptions, LogWriter, OCTETS,
    Progress, Resume, STREAMS_MAX, SealedSegment, Stamp, StreamId, StreamIds, TEXT,
};
