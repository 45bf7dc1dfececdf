//! A place in the source, kept where other threads may read it.

use super::sync::AtomicPtr;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;

/// A place in a program's source.
pub type Site = &'static Location<'static>;

/// An `Option<Site>` that is stored and loaded at once.
///
/// The pointer inside is null or was made from a [`Site`].
///
/// ```
/// use evenkeel_locks::watch::SiteCell;
/// use std::panic::Location;
///
/// let seen = SiteCell::new();
/// assert!(seen.load().is_none());
/// seen.store(Location::caller());
/// assert!(seen.load().is_some_and(|site| site.line() > 0));
/// ```
pub struct SiteCell {
    site: AtomicPtr<Location<'static>>,
}

impl SiteCell {
    /// Of no place yet.
    #[must_use]
    pub fn new() -> Self {
        Self { site: AtomicPtr::new(ptr::null_mut()) }
    }

    /// It is here now.
    #[inline]
    pub fn store(&self, site: Site) {
        // Release: a site of a library that was loaded later is whole before its address is seen.
        self.site.store(ptr::from_ref(site).cast_mut(), Ordering::Release);
    }

    /// Where it was last.
    pub fn load(&self) -> Option<Site> {
        let site: *const Location<'static> = self.site.load(Ordering::Acquire);
        // SAFETY: null, or made by `store` from a reference that lives for ever; nothing writes
        // through it.
        #[allow(unsafe_code, reason = "an atomic reference is not in the standard library")]
        unsafe {
            site.as_ref()
        }
    }
}

impl Default for SiteCell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SiteCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_from_another_thread() {
        let cell = SiteCell::new();
        assert_eq!(cell.load(), None);
        let here = Location::caller();
        std::thread::scope(|threads| {
            threads.spawn(|| cell.store(here));
            threads.spawn(|| assert!(cell.load().is_none_or(|site| site == here)));
        });
        assert_eq!(cell.load(), Some(here));
    }
}
