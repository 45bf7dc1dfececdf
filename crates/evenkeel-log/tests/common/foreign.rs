//! Segments as the independent `mcap` crate reads them.

use evenkeel_log::storage::Storage;
use mcap::read::{LinearReader, Options};
use mcap::records::Record;
use mcap::{MessageStream, Summary};
use std::collections::BTreeMap;

/// A message, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub topic: String,
    pub stream: u32,
    pub sequence: u32,
    pub log_time_ns: u64,
    pub payload: Vec<u8>,
}

fn read(message: &mcap::Message<'_>) -> Read {
    assert_eq!(message.publish_time, message.log_time);
    assert_eq!(message.channel.schema.is_some(), message.channel.topic == "/evenkeel/gaps");
    Read {
        topic: message.channel.topic.clone(),
        stream: message.channel.metadata["stream"].parse().unwrap(),
        sequence: message.sequence,
        log_time_ns: message.log_time,
        payload: message.data.to_vec(),
    }
}

/// All messages from the first byte to the last, with every chunk's CRC checked.
pub fn linear(bytes: &[u8]) -> Vec<Read> {
    let stream = MessageStream::new_with_options(bytes, Options::ValidateChunkCrcs.into()).unwrap();
    stream.map(|message| read(&message.unwrap())).collect()
}

/// All messages by way of the summary and its chunk indexes; checks every count,
/// offset and index entry on the way.
pub fn indexed(bytes: &[u8]) -> Vec<Read> {
    let summary = Summary::read(bytes).unwrap().unwrap();
    let mut all = Vec::new();
    let mut counts: BTreeMap<u16, u64> = summary.channels.keys().map(|id| (*id, 0)).collect();
    for (at, chunk) in summary.chunk_indexes.iter().enumerate() {
        let messages: Vec<mcap::Message<'_>> =
            summary.stream_chunk(bytes, chunk).unwrap().map(Result::unwrap).collect();
        let times = messages.iter().map(|m| m.log_time);
        assert_eq!(times.clone().min(), Some(chunk.message_start_time));
        assert_eq!(times.max(), Some(chunk.message_end_time));
        for message in &messages {
            *counts.get_mut(&message.channel.id).unwrap() += 1;
        }
        check_indexes(bytes, &summary, chunk, &messages, at < 2);
        all.extend(messages.iter().map(read));
    }
    let stats = summary.stats.as_ref().unwrap();
    assert_eq!(stats.message_count, all.len() as u64);
    assert_eq!(stats.channel_message_counts, counts);
    assert_eq!(stats.channel_count as usize, summary.channels.len());
    assert_eq!(usize::from(stats.schema_count), summary.schemas.len());
    assert_eq!(stats.chunk_count as usize, summary.chunk_indexes.len());
    assert_eq!((stats.metadata_count, stats.attachment_count), (1, 0));
    let times = all.iter().map(|m| m.log_time_ns);
    assert_eq!(stats.message_start_time, times.clone().min().unwrap_or(0));
    assert_eq!(stats.message_end_time, times.max().unwrap_or(0));
    for index in &summary.metadata_indexes {
        assert_eq!(mcap::read::metadata(bytes, index).unwrap().name, "evenkeel.segment");
    }
    check_crcs(bytes);
    all
}

/// Every message of the chunk is in exactly one index, under its own time.
fn check_indexes(
    bytes: &[u8],
    summary: &Summary,
    chunk: &mcap::records::ChunkIndex,
    messages: &[mcap::Message<'_>],
    seek: bool,
) {
    let indexes = summary.read_message_indexes(bytes, chunk).unwrap();
    assert_eq!(indexes.values().map(Vec::len).sum::<usize>(), messages.len());
    for (channel, entries) in indexes {
        let of_channel: Vec<_> = messages.iter().filter(|m| m.channel.id == channel.id).collect();
        assert_eq!(entries.len(), of_channel.len());
        for (entry, message) in entries.iter().zip(of_channel) {
            assert_eq!(entry.log_time, message.log_time);
            if seek {
                let found = summary.seek_message(bytes, chunk, entry).unwrap();
                assert_eq!(read(&found), read(message));
            }
        }
    }
}

/// Data and summary lie under the CRCs that `DataEnd` and the footer carry.
fn check_crcs(bytes: &[u8]) {
    let footer = mcap::read::footer(bytes).unwrap();
    let data_end = LinearReader::new(bytes).unwrap().find_map(|record| match record.unwrap() {
        Record::DataEnd(end) => Some(end.data_section_crc),
        _ => None,
    });
    let summary_at = footer.summary_start as usize;
    // DataEnd is opcode, length and CRC: 13 bytes.
    assert_eq!(data_end, Some(crc32fast::hash(&bytes[..summary_at - 13])));
    let crc_at = bytes.len() - 8 - 4;
    assert_eq!(footer.summary_crc, crc32fast::hash(&bytes[summary_at..crc_at]));
    assert_ne!(footer.summary_crc, 0);
}

/// The sealed files of a storage, in order.
pub fn sealed_files(storage: &dyn Storage) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in storage.list().unwrap() {
        if entry.name.ends_with(".mcap") {
            let mut bytes = vec![0; entry.bytes as usize];
            let file = storage.open(&entry.name).unwrap();
            let mut at = 0;
            while at < bytes.len() {
                at += file.read_at(&mut bytes[at..], at as u64).unwrap();
            }
            files.push((entry.name, bytes));
        }
    }
    files.sort();
    files
}
