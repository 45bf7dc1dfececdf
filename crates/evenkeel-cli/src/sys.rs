//! The one thing that safe code cannot say: "descriptor N is ours to use".
#![allow(unsafe_code, reason = "a number given on the command line has to become a descriptor")]

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A copy of the descriptor with this number that children do not inherit; nor
/// do they inherit the original from now on.
///
/// Call it before anything else is opened, so that the number can only be what
/// the parent gave us.
///
/// # Errors
/// When the number is no open descriptor.
pub(crate) fn adopt(number: i32) -> io::Result<File> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not negative, as `BorrowedFd` demands. Nothing else in this
    // process owns or closes it while it is borrowed: it is called before any other thread
    // or file exists. Should it not be open, the system calls below say so and do nothing.
    let given = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(given)?;
    let ours: OwnedFd = fcntl_dupfd_cloexec(given, 3)?;
    if number > 2 {
        fcntl_setfd(given, FdFlags::CLOEXEC)?;
    }
    Ok(ours.into())
}
