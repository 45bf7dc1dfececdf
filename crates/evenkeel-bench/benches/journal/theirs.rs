//! The same bytes, made durable by others.

use crate::ours::payload_bytes;
use evenkeel_bench::place;
use std::fs::File;
use std::io::Write;
use tempfile::TempDir;

/// A file that grows.
pub(crate) struct Raw {
    file: File,
    payload: Vec<u8>,
    _place: TempDir,
}

impl Raw {
    pub(crate) fn new(count: usize) -> Self {
        let place = place().unwrap();
        let file = File::create(place.path().join("raw")).unwrap();
        Self { file, payload: vec![b'x'; count * payload_bytes()], _place: place }
    }

    /// One write and one sync.
    pub(crate) fn group(&mut self) {
        self.file.write_all(&self.payload).unwrap();
        self.file.sync_data().unwrap();
    }
}

#[cfg(feature = "peers")]
pub(crate) use with_redb::Redb;

#[cfg(feature = "peers")]
mod with_redb {
    use super::{TempDir, payload_bytes, place};
    use redb::{Database, Durability, TableDefinition};

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

    /// A database that entries are added to.
    pub(crate) struct Redb {
        database: Database,
        count: usize,
        next: u64,
        payload: Vec<u8>,
        _place: TempDir,
    }

    impl Redb {
        pub(crate) fn new(count: usize) -> Self {
            let place = place().unwrap();
            let database = Database::create(place.path().join("redb")).unwrap();
            Self { database, count, next: 1, payload: vec![b'x'; payload_bytes()], _place: place }
        }

        /// One transaction.
        pub(crate) fn group(&mut self) {
            let mut transaction = self.database.begin_write().unwrap();
            transaction.set_durability(Durability::Immediate);
            {
                let mut table = transaction.open_table(TABLE).unwrap();
                for _ in 0..self.count {
                    table.insert(self.next, self.payload.as_slice()).unwrap();
                    self.next += 1;
                }
            }
            transaction.commit().unwrap();
        }
    }
}
