//! The stops of this process: none of them ends it while another is under way.

use evenkeel_core::Mono;
use evenkeel_core::cleanup::exit::GRAVEST_FIRST;
use evenkeel_hierarchy::{Mutex, StopBook, with_root};

/// A stop that has begun.
struct Entry {
    id: u64,
    over_at: Mono,
    /// Once it is over.
    exit_code: Option<u8>,
}

struct Book {
    next: u64,
    entries: Vec<Entry>,
}

fn book<T>(act: impl FnOnce(&mut Book) -> T) -> T {
    static BOOK: Mutex<StopBook, Book> = Mutex::new(Book { next: 0, entries: Vec::new() });
    with_root(|house| act(&mut BOOK.lock(house)))
}

/// One stop's place among those of this process.
pub(super) struct Others(u64);

impl Others {
    pub(super) fn enter(over_at: Mono) -> Self {
        book(|book| {
            book.next += 1;
            let id = book.next;
            book.entries.push(Entry { id, over_at, exit_code: None });
            Self(id)
        })
    }

    /// This stop is over.
    pub(super) fn over(&self, exit_code: u8) {
        book(|book| {
            if let Some(entry) = book.entries.iter_mut().find(|entry| entry.id == self.0) {
                entry.exit_code = Some(exit_code);
            }
        });
    }

    /// Until when others may take that are under way; `None` when there are none.
    pub(super) fn until(&self) -> Option<Mono> {
        book(|book| {
            let under_way = book.entries.iter().filter(|entry| entry.exit_code.is_none());
            under_way.map(|entry| entry.over_at).max()
        })
    }

    /// What the process exits with after all of them.
    pub(super) fn exit_code(&self, mine: u8) -> u8 {
        book(|book| book.entries.iter().filter_map(|entry| entry.exit_code).fold(mine, graver))
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        book(|book| book.entries.retain(|entry| entry.id != self.0));
    }
}

/// The exit code that counts of two.
fn graver(one: u8, other: u8) -> u8 {
    let place =
        |code: u8| GRAVEST_FIRST.iter().position(|known| *known == code).unwrap_or(GRAVEST_FIRST.len());
    if place(one) <= place(other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ C16
    #[test]
    fn the_gravest_code_of_several_counts() {
        assert_eq!([(0, 1), (5, 1), (4, 5), (3, 4), (1, 0)].map(|(a, b)| graver(a, b)), [1, 5, 4, 3, 1]);
    }
}
