//! Where suites write: the disk that the repository is on.

use std::io;
use std::path::Path;
use tempfile::TempDir;

/// A new directory in the workspace's `target`, gone when dropped.
///
/// # Errors
/// What the system says.
pub fn place() -> io::Result<TempDir> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::fs::create_dir_all(&target)?;
    tempfile::Builder::new().prefix("bench-").tempdir_in(target)
}
