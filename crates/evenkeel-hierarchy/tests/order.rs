//! The documented orders, as the compiler sees them.

use evenkeel_hierarchy::*;

/// Compiles where each level may be locked while the one before it is held.
macro_rules! assert_in_order {
    ($first:ident $(, $next:ident)+) => { assert_in_order!(@ $first; $($next),+) };
    (@ $held:ident; $level:ident $(, $rest:ident)*) => {
        assert_after::<$level, $held>();
        $(assert_after::<$rest, $held>();)*
        assert_in_order!(@ $level; $($rest),*);
    };
    (@ $held:ident;) => {};
}

fn assert_after<L: After<Held>, Held: Level>() {
    assert!(Held::RANK < L::RANK, "{} before {}", Held::NAME, L::NAME);
}

// REQ T1
#[test]
fn the_documented_orders_hold_and_are_one() {
    assert_in_order!(
        CleanupShutdown,
        CleanupPhase,
        CleanupSteps,
        CleanupStatus,
        Component,
        ComponentResource,
        ComponentHistory,
        ComponentCallback,
        ComponentThread,
        BufferCleanup,
        BufferState,
        BufferComponent,
        BufferUpdate,
        MachineCallbacks,
        MachineState,
        MachineHistory,
        MachineInvariants,
        MachineValidators
    );
    assert_in_order!(CleanupStatus, JournalQueue);
}
