//! What safe code cannot ask of a socket.
#![allow(unsafe_code, reason = "the kernel's counter of dropped datagrams has no safe interface")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `SO_MEMINFO` of `asm-generic/socket.h`: of all architectures but MIPS, SPARC and PA-RISC.
const SO_MEMINFO: libc::c_int = 55;
/// Its values, and which of them counts drops (`linux/sock_diag.h`).
const MEMINFO_VALUES: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// Datagrams that the kernel has dropped because nobody read them in time.
///
/// # Errors
/// What the system says; `Unsupported` where it does not count them (before Linux 4.12).
pub(crate) fn datagrams_dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut values = [0u32; MEMINFO_VALUES];
    let mut bytes = libc::socklen_t::try_from(size_of_val(&values)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while it is borrowed; `values` is writable for `bytes` bytes,
    // and the kernel writes no more than that and any bit pattern is a `u32`.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    match asked {
        0 if bytes as usize == size_of_val(&values) => Ok(values[MEMINFO_DROPS]),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}
