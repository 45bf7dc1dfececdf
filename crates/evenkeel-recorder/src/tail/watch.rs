//! What wakes a tail: inotify where there is any, and a look now and then in any case.

use super::files::{Tailed, directory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often a look is taken although nothing was told.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The same where nothing is ever told: a user may have so many inotify descriptors and no more.
const LOOK_ALONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// What is told of at most between two looks; the system itself keeps 16,384 events.
const NEWS_MAX: usize = 1024;

/// What became of the path, as the directory tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A file came to stand there.
    Came,
    /// What stood there has another name by now, beside it; or none that is known.
    Renamed(Option<OsString>),
    /// What stood there was removed.
    Removed,
    /// More happened than could be told.
    Missed,
}

/// Watches a directory for names that change, and files for what is written to them.
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    dir: PathBuf,
    name: OsString,
}

/// Files that were renamed away, while their moves are followed.
struct Moves {
    news: Vec<News>,
    /// Moves whose other end is not told yet: the cookie, and which of the news it is.
    open: Vec<(u32, usize)>,
}

impl Watch {
    pub(super) fn new(path: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let name = path.file_name().unwrap_or_default().to_owned();
        let watch = Self { inotify, dir: directory(path).to_owned(), name };
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

    /// What was told by now, the oldest first: whoever calls this looks next. Of files that had these names and were not
    /// found under them, it comes first what became of them.
    pub(super) fn news(&self, sought: Vec<OsString>) -> Vec<News> {
        let news = sought.into_iter().map(|name| News::Renamed(Some(name))).collect();
        let mut moves = Moves { news, open: Vec::new() };
        if let Some(inotify) = &self.inotify {
            let mut place = [MaybeUninit::uninit(); 4096];
            let mut events = Reader::new(inotify, &mut place);
            while let Ok(event) = events.next() {
                moves.take(&event, &self.name);
            }
        }
        moves.news
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

impl Moves {
    fn take(&mut self, event: &Event<'_>, path: &OsStr) {
        let (what, cookie) = (event.events(), event.cookie());
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.tell(News::Missed);
            return;
        }
        // Of a file that is watched itself there is no name.
        let Some(name) = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes())) else { return };
        if what.contains(ReadFlags::MOVED_TO) {
            // What had the name until now is gone.
            self.lose(name);
            if let Some(at) = self.open.iter().position(|(of, _)| *of == cookie) {
                let (_, at) = self.open.swap_remove(at);
                self.news[at] = News::Renamed(Some(name.to_owned()));
            }
        }
        if what.contains(ReadFlags::MOVED_FROM) {
            let before = self.lose(name);
            let moved = if name == path { self.tell(News::Renamed(None)) } else { before };
            self.open.extend(moved.map(|at| (cookie, at)));
        }
        if what.contains(ReadFlags::DELETE) {
            self.lose(name);
        }
        if name == path {
            if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                self.tell(News::Came);
            } else if what.contains(ReadFlags::DELETE) {
                self.tell(News::Removed);
            }
        }
    }

    /// Its place among the news, if there is one left.
    fn tell(&mut self, news: News) -> Option<usize> {
        let at = self.news.len();
        if at < NEWS_MAX {
            self.news.push(news);
        } else {
            self.news[0] = News::Missed;
        }
        (at < NEWS_MAX).then_some(at)
    }

    /// A file that was renamed away has this name no more.
    fn lose(&mut self, name: &OsStr) -> Option<usize> {
        let has = |news: &News| matches!(news, News::Renamed(Some(now)) if *now == *name);
        let at = self.news.iter().position(has)?;
        self.news[at] = News::Renamed(None);
        Some(at)
    }
}

/// A file whatever it is called by now.
fn by_descriptor(file: &Tailed) -> PathBuf {
    format!("/proc/self/fd/{}", file.file.as_raw_fd()).into()
}
