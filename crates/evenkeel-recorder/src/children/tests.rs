//! Real commands, and what is told and written of them.

mod gate;
mod left;
pub(super) mod rig;
mod runs;
mod scenes;
mod stderr;
mod stops;
mod thread;

use super::*;
use rig::{Disk, Rig, eventually, far_ns, never, on_failure};
