//! Sockets that others connect or send to.

use rustix::fs::{CWD, Mode, OFlags, chmod, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname,
    listen, socket_with, sockopt,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// What is asked for to hold datagrams that are not read yet; the kernel may give less.
const RECEIVE_BYTES: usize = 8 << 20;

/// A socket that listens.
pub(crate) struct Listening {
    /// Its name in the file system, removed with it; before it, while nobody can take its place.
    _name: Option<SocketName>,
    pub(crate) fd: OwnedFd,
    /// Where it does, with the port that the system chose.
    pub(crate) address: String,
}

/// A socket of the file system.
struct SocketName {
    dir: OwnedFd,
    name: PathBuf,
    /// Device and inode: what has that name later may be somebody else's.
    identity: Option<(u64, u64)>,
}

/// Device and inode of what has a name now.
fn identity(dir: &OwnedFd, name: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((found.st_dev, found.st_ino))
}

impl Drop for SocketName {
    fn drop(&mut self) {
        // No other has the inode's number while the socket is open.
        if self.identity.is_some() && identity(&self.dir, &self.name) == self.identity {
            let _ = unlinkat(&self.dir, &self.name, rustix::fs::AtFlags::empty());
        }
    }
}

fn new_socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    Ok(socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Listens for connections to an address.
///
/// # Errors
/// What the system says.
pub(crate) fn tcp(address: SocketAddr) -> io::Result<Listening> {
    let fd = new_socket(family(address), SocketType::STREAM)?;
    // Connections of an earlier run that the kernel still winds up are not in the way.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    bind(&fd, &address)?;
    listen(&fd, BACKLOG)?;
    let address = bound(fd.as_fd(), address);
    Ok(Listening { fd, address, _name: None })
}

/// Listens for datagrams to an address.
///
/// # Errors
/// What the system says.
pub(crate) fn udp(address: SocketAddr) -> io::Result<Listening> {
    let fd = new_socket(family(address), SocketType::DGRAM)?;
    // The first is for the privileged, the second is cut to what the system allows.
    if sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BYTES).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BYTES);
    }
    bind(&fd, &address)?;
    let address = bound(fd.as_fd(), address);
    Ok(Listening { fd, address, _name: None })
}

fn bound(fd: BorrowedFd<'_>, asked: SocketAddr) -> String {
    let found = getsockname(fd).ok().and_then(|address| SocketAddr::try_from(address).ok());
    found.unwrap_or(asked).to_string()
}

/// Listens for connections to a path. A socket there that nobody listens to any more is
/// replaced; anything else is left alone.
///
/// # Errors
/// `AddrInUse` when somebody listens there or something else is in the way; else what the
/// system says.
pub(crate) fn unix(path: &Path) -> io::Result<Listening> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "a path with a file name is needed");
    let name = PathBuf::from(path.file_name().ok_or_else(no_name)?);
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, parent, flags, Mode::empty())?;
    // An address holds 107 bytes; through its directory a path may have any length.
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(&name);
    let address = SocketAddrUnix::new(&short)?;
    let fd = new_socket(AddressFamily::UNIX, SocketType::STREAM)?;
    match bind(&fd, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_forsaken(&dir, &name, &address)?;
            bind(&fd, &address)?;
        }
        bound => bound?,
    }
    let name = SocketName { identity: identity(&dir, &name), dir, name };
    // Nobody can connect before it listens: until here it is nobody's.
    chmod(&short, Mode::RUSR | Mode::WUSR)?;
    listen(&fd, BACKLOG)?;
    Ok(Listening { fd, address: path.display().to_string(), _name: Some(name) })
}

/// Removes a socket that nobody listens to.
fn remove_forsaken(dir: &OwnedFd, name: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let in_the_way = |what: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, what.to_owned()));
    let probe = new_socket(AddressFamily::UNIX, SocketType::STREAM)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {}
        Ok(()) | Err(Errno::AGAIN) => return in_the_way("somebody listens there"),
        Err(e) => return Err(e.into()),
    }
    let found = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    // Whatever is no socket refuses connections too.
    if rustix::fs::FileType::from_raw_mode(found.st_mode) != rustix::fs::FileType::Socket {
        return in_the_way("something that is no socket is in the way");
    }
    Ok(unlinkat(dir, name, rustix::fs::AtFlags::empty())?)
}

/// Who is at the other end of a connection, in words.
pub(crate) fn peer_of(fd: &OwnedFd, from: Option<SocketAddrAny>) -> String {
    match from.and_then(|from| SocketAddr::try_from(from).ok()) {
        Some(address) => format!("tcp:{address}"),
        None => match sockopt::socket_peercred(fd) {
            Ok(peer) => format!("unix:process {} of user {}", peer.pid.as_raw_nonzero(), peer.uid.as_raw()),
            Err(_) => "unix".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    // REQ W1
    #[test]
    fn a_path_of_any_length_can_be_listened_to_and_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("socket");
        let listening = unix(&path).unwrap();
        let dir = openat(CWD, &deep, OFlags::PATH, Mode::empty()).unwrap();
        let short = format!("/proc/self/fd/{}/socket", dir.as_raw_fd());
        UnixStream::connect(&short).unwrap();
        let mode = std::fs::metadata(&path).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        let taken = unix(&path).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(taken.to_string().contains("somebody listens"), "{taken}");
        drop(listening);
        assert!(!path.exists());
    }

    // REQ W4
    #[test]
    fn only_a_forsaken_socket_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("socket");
        // What a killed process leaves: the name, and nobody behind it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(unix(&path).unwrap());
        std::fs::write(&path, b"precious").unwrap();
        let refused = unix(&path).err().unwrap();
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    // REQ W4
    #[test]
    fn a_socket_of_somebody_else_is_not_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("socket");
        let ours = unix(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        UnixStream::connect(&path).unwrap();
        drop(theirs);
    }
}
