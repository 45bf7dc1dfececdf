//! Records many channels durably.
