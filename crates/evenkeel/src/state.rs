//! State machines that threads share: guarded, observed, in the journal, in one registry.
//!
//! ```text
//! change --> its turn --> propose --> guards, invariants --> journal, commit --> observers
//!            (waits)      (locked)    (nothing held)         (locked)            (nothing held, in order)
//! ```
//!
//! Which change may follow which, history and rollback are decided by [`evenkeel_core::state`]; here is who asks
//! it, and who is told.
//!
//! What holds:
//! 1. Guards, invariants, compensations and observers are called with no lock held. Their panics end here.
//! 2. A state shows when every guard let it through, every invariant holds and the journal has its entry; what fails
//!    before leaves a line of history and nothing else.
//! 3. One change is under way at a time. Who comes meanwhile waits for its turn, for so long at most; who asks from
//!    inside of a guard of the same change is refused.
//! 4. Each observer sees every change after it subscribed once and in order, or is detached and told so. Who takes
//!    too long gets a mailbox of its own, and holds up nobody.
//! 5. Nothing grows without a bound: history, points, what waits to be seen, mailboxes.
//! 6. A state is read without a lock.
//!
//! How it fails: without room in the journal a change is refused, unless the machine does without
//! ([`MachineBuilder::best_effort`]). A guard that hangs is given up after a time, and its change with it.

mod build;
mod change;
mod deliver;
mod error;
mod inner;
mod machine;
mod mailbox;
mod name;
mod observe;
mod past;
mod record;
mod registry;
mod rollback;
mod rules;
mod settle;
mod told;
mod turn;
mod view;

pub use build::MachineBuilder;
pub use change::Changed;
pub use error::{ChangeError, MachineError, ObserveError, TakeBackError};
pub use evenkeel_core::state::{
    CLEANUP, COMPONENT, Cause, Change, ChangeKind, CleanupState, ComponentState, EdgeMetrics, Entry,
    Flapping, FlappingLimits, Histogram, Lapsed, Limits, Outcome, Point, RECOVERY, RecoveryState, Refused,
    Rollback, RollbackError, Snapshot, State, StateSet, Table, Undo,
};
pub use evenkeel_core::{state_table, states};
pub use machine::{Pending, StateMachine, StateReader};
pub use name::MachineName;
pub use observe::{Observation, ObserverStatus};
pub use past::{Past, PastMachine};
pub use registry::{Checked, States};
pub use rollback::{FailedUndo, TakenBack};
pub use rules::Proposed;
pub use told::{StateEvent, StateWhat};
pub use view::{EdgeFigures, MachineInfo, MachineView};
