//! What wakes a tail: inotify where there is any, and a look now and then in any case.

use super::files::{Tailed, directory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How often a look is taken although nothing was told.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The same where nothing is ever told: a user may have so many inotify descriptors and no more.
const LOOK_ALONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Watches a directory for names that change, and files for what is written to them.
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    dir: PathBuf,
}

impl Watch {
    pub(super) fn new(path: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let watch = Self { inotify, dir: directory(path).to_owned() };
        watch.watch_dir();
        watch
    }

    /// Watches the directory, which may be another one by now: that is no harm, and no news.
    fn watch_dir(&self) {
        if let Some(inotify) = &self.inotify {
            let names =
                WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
            let _ = inotify::add_watch(inotify, &self.dir, names);
        }
    }

    /// Watches a file from before its first read. What cannot be watched is looked at every second.
    pub(super) fn add(&self, file: &Tailed) {
        if let Some(inotify) = &self.inotify {
            let what = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF;
            let _ = inotify::add_watch(inotify, by_descriptor(file), what);
        }
    }

    pub(super) fn remove(&self, file: &Tailed) {
        if let Some(inotify) = &self.inotify {
            // The system knows it by number: the same file has the same one.
            let same = inotify::add_watch(inotify, by_descriptor(file), WatchFlags::ATTRIB);
            let _ = same.and_then(|number| inotify::remove_watch(inotify, number));
        }
    }

    /// Forgets what was told by now: whoever calls this looks next.
    pub(super) fn clear(&self) {
        if let Some(inotify) = &self.inotify {
            let mut events = [0; 4096];
            while rustix::io::read(inotify, &mut events).is_ok_and(|n| n > 0) {}
        }
    }

    /// Waits until something is told, or it is time to look, or a stop is ordered.
    pub(super) fn wait(&self, ordered: &OwnedFd) {
        let mut fds = vec![PollFd::from_borrowed_fd(ordered.as_fd(), PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        let patience = if self.inotify.is_some() { LOOK } else { LOOK_ALONE };
        if poll(&mut fds, Some(&patience)) == Ok(0) {
            self.watch_dir();
        }
    }
}

/// A file whatever it is called by now.
fn by_descriptor(file: &Tailed) -> PathBuf {
    format!("/proc/self/fd/{}", file.file.as_raw_fd()).into()
}
