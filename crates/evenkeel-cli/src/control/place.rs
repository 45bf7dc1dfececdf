//! The place of the control socket: in the recording directory, however long its path is.
//!
//! A socket's address has room for 107 bytes. The directory is opened instead, and the
//! socket is found under the number of that descriptor in `/proc`.

use super::SOCKET;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, open, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Connections that may wait to be accepted.
pub(super) const BACKLOG: i32 = 128;

/// A directory that has a control socket, or is to have one.
#[derive(Debug)]
pub(super) struct Place(OwnedFd);

/// A socket that listens in its place; its file goes with it.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    place: Place,
    /// Device and inode of the socket's file.
    made: (u64, u64),
}

impl Place {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open(dir, flags, Mode::empty())?))
    }

    fn address(&self) -> io::Result<SocketAddrUnix> {
        Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", self.0.as_raw_fd()))?)
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Listens. What an earlier recorder left is replaced: call it with the directory's lock held.
    ///
    /// # Errors
    /// What the system says, or that something else than a socket is in the way.
    pub(super) fn listen(self) -> io::Result<Listening> {
        match self.stat(SOCKET) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(stat) if is_socket(&stat) => unlinkat(&self.0, SOCKET, AtFlags::empty())?,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is not a socket is in its place",
                ));
            }
        }
        let socket = non_blocking()?;
        // Linux makes the file with the mode that the socket has: nobody can come in between.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &self.address()?)?;
        let stat = self.stat(SOCKET)?;
        let listening =
            Listening { listener: UnixListener::from(socket), place: self, made: identity(&stat) };
        if stat.st_mode & 0o777 & !0o600 != 0 {
            let found = stat.st_mode & 0o777;
            return Err(io::Error::other(format!("others could use it: its mode is {found:o}, not 600")));
        }
        listen(&listening.listener, BACKLOG)?;
        Ok(listening)
    }

    /// Connects without waiting.
    ///
    /// # Errors
    /// What the system says: `NotFound` or `ConnectionRefused` when nobody listens,
    /// `WouldBlock` when too many wait to be accepted already.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let socket = non_blocking()?;
        connect(&socket, &self.address()?)?;
        Ok(UnixStream::from(socket))
    }

    /// Which process has locked the directory, as far as the system tells. Unlike a try to
    /// lock it, asking is in nobody's way.
    pub(super) fn holder(&self) -> Option<u32> {
        let stat = self.stat(LOCK).ok()?;
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let path = format!("/proc/self/fd/{}/{LOCK}", self.0.as_raw_fd());
        let told: Option<u32> = std::fs::read_to_string(path).ok().and_then(|pid| pid.trim().parse().ok());
        locks.lines().find_map(|line| holder_of(line, identity(&stat), told))
    }
}

/// The file that a recorder locks.
const LOCK: &str = ".lock";

/// The process that a line of `/proc/locks` says holds a file exclusively, when it is
/// this one. Some file systems show another device there than elsewhere: then it must be
/// the process that the file names.
fn holder_of(line: &str, (dev, ino): (u64, u64), told: Option<u32>) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let (kind, _, mode) = (words.next()?, words.next()?, words.next()?);
    let (pid, file) = (words.next()?.parse().ok()?, words.next()?);
    let mut parts = file.split(':');
    let (major, minor) = (parts.next()?, parts.next()?);
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let is_same_device = device == (rustix::fs::major(dev), rustix::fs::minor(dev));
    let is_it = kind == "FLOCK" && mode == "WRITE" && parts.next()?.parse() == Ok(ino);
    (is_it && (is_same_device || told == Some(pid))).then_some(pid)
}

impl Listening {
    /// Takes the socket's file away, if it is still the one that was made.
    pub(super) fn remove(&self) {
        if self.place.stat(SOCKET).is_ok_and(|stat| is_socket(&stat) && identity(&stat) == self.made) {
            let _ = unlinkat(&self.place.0, SOCKET, AtFlags::empty());
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.remove();
    }
}

fn non_blocking() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;

    // REQ W2
    #[test]
    fn a_lock_is_found_by_its_file() {
        let line = "3: FLOCK  ADVISORY  WRITE 21435 fe:01:77 0 EOF";
        let dev = rustix::fs::makedev(0xfe, 1);
        assert_eq!(holder_of(line, (dev, 77), None), Some(21435));
        assert_eq!(holder_of(line, (dev, 78), Some(21435)), None);
        let elsewhere = rustix::fs::makedev(0, 31);
        assert_eq!(holder_of(line, (elsewhere, 77), Some(21435)), Some(21435));
        assert_eq!(holder_of(line, (elsewhere, 77), Some(5)), None);
        assert_eq!(holder_of("3: FLOCK  ADVISORY  READ 21435 fe:01:77 0 EOF", (dev, 77), None), None);
        assert_eq!(holder_of("3: POSIX  ADVISORY  WRITE 21435 fe:01:77 0 EOF", (dev, 77), None), None);
        assert_eq!(holder_of("3: -> FLOCK  ADVISORY  WRITE 21435 fe:01:77 0 EOF", (dev, 77), None), None);
        assert_eq!(holder_of("", (dev, 77), None), None);
    }

    // REQ W2
    #[test]
    fn only_the_socket_that_was_made_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let listening = Place::open(dir.path()).unwrap().listen().unwrap();
        std::fs::remove_file(&path).unwrap();
        // Kept in another's hands, so that its number is not used again at once.
        std::fs::write(&path, b"of somebody else").unwrap();
        listening.remove();
        assert!(path.exists(), "a file of somebody else was removed");
        std::fs::remove_file(&path).unwrap();
        let held = UnixListener::bind(&path).unwrap();
        listening.remove();
        assert!(path.exists(), "a socket of somebody else was removed");
        drop(held);
        drop(Place::open(dir.path()).unwrap().listen().unwrap());
        assert!(!path.exists());
    }
}
