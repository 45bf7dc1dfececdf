//! Decisions as plain values.
