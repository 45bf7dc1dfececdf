//! State machines over a user's own enum, as plain values.
//!
//! ```text
//! propose --> Proposal --> (the shell asks guards and invariants) --> commit  --> Change
//!    |                                                          `---> reject  --> history only
//!    `--> Refused: names from, to and what is allowed           `---> abandon --> history only
//!
//! plan_rollback --> begin_rollback --> (the shell calls compensations, in reverse order) --> finish_rollback --> Change
//! ```
//!
//! Invariants:
//! 1. A state never shows before its change is committed: whatever fails before leaves no trace but history.
//! 2. A change follows an edge of the [`Table`], or is a rollback. Each has a number of its own, one more than the
//!    one before, and history is never rewritten.
//! 3. One change is under way at most; what is dropped can be abandoned by its [`Ticket`] and blocks for no longer.
//! 4. Closures of users are not known here. Whoever keeps a [`Machine`] under a lock calls them between two
//!    steps, with the lock free.
//! 5. Nothing is allocated by propose, commit, reject and abandon with a cause that is a literal, but the figures
//!    of an edge that was never tried before.
//!
//! [`states!`](crate::states) declares an enum, [`state_table!`](crate::state_table) its table, which
//! does not compile unless it is sound.

mod cause;
mod flapping;
mod fold;
mod history;
mod instances;
mod limits;
mod machine;
mod message;
mod metrics;
mod points;
mod restore;
mod rollback;
mod states;
mod table;

pub use cause::Cause;
pub use flapping::Flapping;
pub use history::{Entry, Outcome};
pub use instances::{CLEANUP, COMPONENT, CleanupState, ComponentState, RECOVERY, RecoveryState, diagrams};
pub use limits::{FlappingLimits, Limits};
pub use machine::Machine;
pub use message::{Change, ChangeKind, Lapsed, Proposal, Refused, Rejection, Ticket};
pub use metrics::{EdgeMetrics, Histogram};
pub use points::Point;
pub use restore::{Inconsistent, RestoreError, SavedChange, SavedStep, Snapshot};
pub use rollback::{CompensationFailure, Rollback, RollbackError, Undo, Undoing};
pub use states::{State, StateSet};
pub use table::{Edge, Table, TableError};
