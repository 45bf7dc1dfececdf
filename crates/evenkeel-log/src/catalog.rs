//! Which files a recording directory has.

use crate::commit::{ChannelState, Commit};
use crate::mcap::{FOOTER_BYTES, MAGIC, RECORD_BYTES_MAX, RECORD_HEAD_BYTES, op};
use crate::segment::{part_name, sealed_name};
use crate::storage::{ReadFile, Storage, read_full_at};
use std::collections::BTreeMap;
use std::io;

/// The files of one segment number; `None` where there is none, else its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) sealed: Option<u64>,
    pub(crate) part: Option<u64>,
    pub(crate) tail: Option<u64>,
    /// The original of a segment that was rebuilt because of damage.
    pub(crate) damaged: Option<u64>,
    /// A rebuild that was not finished.
    pub(crate) rebuild: Option<u64>,
}

impl Files {
    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        [self.sealed, self.part, self.tail, self.damaged, self.rebuild].into_iter().flatten().sum()
    }
}

/// All segments of a directory, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog(pub(crate) BTreeMap<u64, Files>);

pub(crate) fn tail_name(number: u64) -> String {
    format!("{number:06}.tail")
}

pub(crate) fn damaged_name(number: u64) -> String {
    format!("{number:06}.damaged")
}

pub(crate) fn rebuild_name(number: u64) -> String {
    format!("{number:06}.rebuild")
}

impl Catalog {
    pub(crate) fn read(storage: &dyn Storage) -> io::Result<Self> {
        let mut catalog = Self::default();
        for entry in storage.list()? {
            let Some((digits, kind)) = entry.name.split_once('.') else { continue };
            let Some(number) = number_of(digits) else { continue };
            let files = catalog.0.entry(number).or_default();
            let slot = match kind {
                "mcap" => &mut files.sealed,
                "mcap.part" => &mut files.part,
                "tail" => &mut files.tail,
                "damaged" => &mut files.damaged,
                "rebuild" => &mut files.rebuild,
                _ => continue,
            };
            *slot = Some(entry.bytes);
        }
        Ok(catalog)
    }

    /// First number that no file has.
    pub(crate) fn next_number(&self) -> u64 {
        self.0.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// Numbers and names of the segments that hold the recording, in order.
    pub(crate) fn segments(&self) -> Vec<(u64, String)> {
        let named = self.0.iter().filter_map(|(number, files)| match files {
            Files { sealed: Some(_), .. } => Some((*number, sealed_name(*number))),
            Files { part: Some(_), .. } => Some((*number, part_name(*number))),
            _ => None,
        });
        named.collect()
    }
}

/// A segment number: at least six digits, no superfluous zero.
fn number_of(digits: &str) -> Option<u64> {
    let number = digits.parse().ok()?;
    (number > 0 && format!("{number:06}") == digits).then_some(number)
}

/// The number in a segment's file name.
pub(crate) fn number_of_name(name: &str) -> Option<u64> {
    number_of(name.split_once('.')?.0)
}

/// More records than this before the first commit are not of this log.
const HEAD_RECORDS_MAX: usize = 16;
/// Records that look like the last commit and are none, before the search ends.
const LAST_COMMIT_TRIES_MAX: usize = 16;

/// The first commit of a segment, which lists all channels as of its beginning.
pub(crate) fn first_commit(file: &dyn ReadFile) -> io::Result<Option<Commit>> {
    let mut at = MAGIC.len() as u64;
    for _ in 0..HEAD_RECORDS_MAX {
        let mut head = [0; RECORD_HEAD_BYTES];
        if read_full_at(file, &mut head, at)? < head.len() {
            return Ok(None);
        }
        let mut len = [0; 8];
        len.copy_from_slice(&head[1..]);
        let len = u64::from_le_bytes(len);
        match head[0] {
            op::COMMIT if len <= RECORD_BYTES_MAX => {
                let mut record = vec![0; RECORD_HEAD_BYTES + len as usize];
                let read = read_full_at(file, &mut record, at)?;
                return Ok(Commit::decode(&record[..read], at));
            }
            op::HEADER | op::METADATA if len <= RECORD_BYTES_MAX => at += RECORD_HEAD_BYTES as u64 + len,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Opens a segment by the name it had when it was listed: a recorder at work may
/// have given it its final one since.
pub(crate) fn open_segment(storage: &dyn Storage, name: &str) -> io::Result<Box<dyn ReadFile>> {
    match (storage.open(name), name.strip_suffix(".part")) {
        (Err(e), Some(sealed)) if e.kind() == io::ErrorKind::NotFound => storage.open(sealed),
        (file, _) => file,
    }
}

/// States of all channels at the beginning of a segment.
pub(crate) fn base_of(
    storage: &dyn Storage,
    name: &str,
) -> io::Result<Option<BTreeMap<String, ChannelState>>> {
    let file = open_segment(storage, name)?;
    Ok(first_commit(&*file)?.map(|commit| commit.entries.into_iter().collect()))
}

/// The last commit of a sealed segment, when its summary and footer are sound;
/// reads only the end of the file. `None` asks for a closer look.
pub(crate) fn sealed_end(file: &dyn ReadFile) -> io::Result<Option<Commit>> {
    let Some(footer) = footer(file)? else { return Ok(None) };
    let crc = crc_of(file, footer.summary_at, footer.at + 25)?;
    if crc != Some(footer.summary_crc) {
        return Ok(None);
    }
    last_commit_before(file, footer.summary_at)
}

/// The same without reading the summary, which may be long: the commit has a CRC of its own.
pub(crate) fn last_commit(file: &dyn ReadFile) -> io::Result<Option<Commit>> {
    footer(file)?.map_or(Ok(None), |footer| last_commit_before(file, footer.summary_at))
}

/// What the end of a sealed file says.
struct Footer {
    at: u64,
    summary_at: u64,
    summary_crc: u32,
}

fn footer(file: &dyn ReadFile) -> io::Result<Option<Footer>> {
    const END_BYTES: u64 = (FOOTER_BYTES + MAGIC.len()) as u64;
    let bytes = file.bytes()?;
    let Some(at) = bytes.checked_sub(END_BYTES) else { return Ok(None) };
    let mut end = [0; END_BYTES as usize];
    if read_full_at(file, &mut end, at)? < end.len() || end[FOOTER_BYTES..] != MAGIC || end[0] != op::FOOTER {
        return Ok(None);
    }
    let field = |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| end[at + i]));
    let (length, summary_at) = (field(1), field(9));
    let summary_crc = u32::from_le_bytes([0, 1, 2, 3].map(|i| end[25 + i]));
    let is_sound = length == 20 && summary_at <= at && at - summary_at <= 4 * RECORD_BYTES_MAX;
    Ok(is_sound.then_some(Footer { at, summary_at, summary_crc }))
}

fn crc_of(file: &dyn ReadFile, from: u64, to: u64) -> io::Result<Option<u32>> {
    let (mut crc, mut at) = (crc32fast::Hasher::new(), from);
    let mut piece = vec![0; 64 << 10];
    while at < to {
        let n = piece.len().min((to - at) as usize);
        let read = read_full_at(file, &mut piece[..n], at)?;
        if read < n {
            return Ok(None);
        }
        crc.update(&piece[..n]);
        at += n as u64;
    }
    Ok(Some(crc.finalize()))
}

/// The commit that ends where the `DataEnd` record before `summary_at` begins.
fn last_commit_before(file: &dyn ReadFile, summary_at: u64) -> io::Result<Option<Commit>> {
    let Some(data_end) = summary_at.checked_sub(crate::mcap::DATA_END_BYTES as u64) else { return Ok(None) };
    for span in [4u64 << 10, 1 << 20, RECORD_BYTES_MAX] {
        let from = data_end.saturating_sub(span);
        let mut bytes = vec![0; (data_end - from) as usize];
        if read_full_at(file, &mut bytes, from)? < bytes.len() {
            return Ok(None);
        }
        let markers = memchr::memmem::rfind_iter(&bytes, &crate::commit::MARKER);
        let places = markers.filter_map(|marker| marker.checked_sub(RECORD_HEAD_BYTES));
        let commits = places.filter(|at| Commit::may_stand(&bytes[*at..], from + *at as u64));
        for at in commits.take(LAST_COMMIT_TRIES_MAX) {
            if let Some(commit) = Commit::decode(&bytes[at..], from + at as u64) {
                return Ok(Some(commit));
            }
        }
        if from == 0 {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_numbers_are_segments() {
        assert_eq!(number_of("000001"), Some(1));
        assert_eq!(number_of("1234567"), Some(1_234_567));
        for name in ["1", "0000001", "000000", "", "00000a", "+00001", "-00001"] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
