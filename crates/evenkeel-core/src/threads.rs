//! Threads: which job is next and on which worker, and which thread is in trouble.
//!
//! ```text
//! submit --> Schedule --> take (by a worker) --> the job runs --> take ...
//! sample --> Watch -----> Finding: dead, stuck, runaway, recovered
//! ```
//!
//! Both are plain values. Neither starts a thread, takes a lock, reads a clock,
//! or calls or drops what users gave: every payload that leaves goes to the caller.

mod channels;
mod counts;
mod ids;
mod jobs;
mod limits;
mod list;
mod outcome;
mod schedule;
mod watch;

pub use counts::{ClassCounts, Counts};
pub use ids::{ChannelId, Class, JobId, WORKERS_MAX, WorkerId, Workers};
pub use limits::Limits;
pub use outcome::{ChannelError, Loss, Lost, Next, Reason, Refused, Removed, Running, Submitted};
pub use schedule::Schedule;
pub use watch::{Finding, FindingKind, Sample, Watch, WatchId, WatchSpec};
