#!/usr/bin/env python3
"""Reads a recording as any MCAP user would, with the Python `mcap` package.

    read_mcap.py DIR CHANNEL     checks every sealed segment, prints one line of JSON:
                                 {"segments", "messages", "bytes", "sha256"} of topic /CHANNEL
    read_mcap.py --sha256 FILE   prints {"bytes", "sha256"} of a file

Each NNNNNN.mcap is read twice, by its summary and straight through with every
CRC checked, and both must say the same; every index entry must point at what it
says. `sha256` and `bytes` cover the payloads of the topic, joined in the order
of the files and, within each, of the log times as the indexed read gives them.

Exit codes: 0; 1 a file is damaged or disagrees with itself, said on standard
error after "damaged:"; 2 wrong usage.
"""

import hashlib
import json
import re
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import NonSeekingReader, make_reader
from mcap.records import Chunk, DataEnd, Footer, Message, MessageIndex
from mcap.stream_reader import StreamReader, get_chunk_data_stream

RECORD_HEAD = 9  # opcode and length
FOOTER_AND_MAGIC = RECORD_HEAD + 20 + 8


# What the package and this script raise over bytes that are not as they should be.
UNREADABLE = (McapError, ValueError, LookupError, EOFError, OSError, MemoryError, struct.error)


class Damaged(Exception):
    """A file is not what it says it is."""


def require(holds, message):
    """Fails with the message unless the condition holds."""
    if not holds:
        raise Damaged(message)


def require_equal(what, found, expected):
    """Fails with both values unless they are equal."""
    require(found == expected, f"{what}: found {found}, expected {expected}")


def read_segment(path, topic, digest):
    """Checks one file, feeds the topic's payloads to the digest; returns their number and bytes."""
    with path.open("rb") as stream:
        summary = make_reader(stream, validate_crcs=True).get_summary()
        require(summary is not None, "no summary")
        require(summary.statistics is not None, "no statistics in the summary")
        check_summary_crc(stream)
        check_stream(stream, summary)
        indexed_messages = check_chunk_indexes(stream, summary)
        require_equal("messages indexed", indexed_messages, summary.statistics.message_count)
        return read_topic(stream, summary, topic, digest)


def check_summary_crc(stream):
    """The summary section has a CRC, and it is right."""
    size = stream.seek(0, 2)
    stream.seek(size - FOOTER_AND_MAGIC)
    footer = next(StreamReader(stream, skip_magic=True).records)
    require(isinstance(footer, Footer), "the file does not end in a footer")
    require(footer.summary_crc != 0, "the summary has no CRC")
    stream.seek(footer.summary_start)
    covered = stream.read(size - 8 - 4 - footer.summary_start)  # up to the CRC itself
    require_equal("CRC of the summary", zlib.crc32(covered), footer.summary_crc)


def check_stream(stream, summary):
    """Reads straight through with CRCs; counts must be those of the statistics."""
    stream.seek(0)
    chunks = outside = data_ends = 0
    for record in StreamReader(stream, emit_chunks=True, validate_crcs=True).records:
        chunks += isinstance(record, Chunk)
        outside += isinstance(record, Message)
        if isinstance(record, DataEnd):
            data_ends += 1
            require(record.data_section_crc != 0, "the data section has no CRC")
    require_equal("ends of the data section", data_ends, 1)
    require_equal("messages outside chunks", outside, 0)
    require_equal("chunks in the stream", chunks, summary.statistics.chunk_count)
    require_equal("chunk indexes", len(summary.chunk_indexes), summary.statistics.chunk_count)

    stream.seek(0)
    counts = Counter()
    times = []
    reader = NonSeekingReader(stream, validate_crcs=True)
    for _, channel, message in reader.iter_messages(log_time_order=False):
        counts[channel.id] += 1
        times.append(message.log_time)
    statistics = summary.statistics
    require_equal("messages in the stream", sum(counts.values()), statistics.message_count)
    stated = {channel: count for channel, count in statistics.channel_message_counts.items() if count}
    require_equal("messages of each channel", dict(counts), stated)
    require_equal("channels", len(summary.channels), statistics.channel_count)
    if times:
        require_equal("first log time", min(times), statistics.message_start_time)
        require_equal("last log time", max(times), statistics.message_end_time)


def check_chunk_indexes(stream, summary):
    """Every chunk index and message index points at what it says; returns the messages indexed."""
    indexed = 0
    for index in summary.chunk_indexes:
        where = f"chunk at {index.chunk_start_offset}"
        chunk, end = read_record(stream, index.chunk_start_offset, Opcode.CHUNK, Chunk)
        require_equal(f"{where}: length", end - index.chunk_start_offset, index.chunk_length)
        for field in ("message_start_time", "message_end_time", "compression", "uncompressed_size"):
            require_equal(f"{where}: {field}", getattr(chunk, field), getattr(index, field))
        require_equal(f"{where}: compressed size", len(chunk.data), index.compressed_size)
        require(chunk.uncompressed_crc != 0, f"{where}: no CRC")
        indexed += check_message_indexes(stream, where, index, chunk, end)
    return indexed


def check_message_indexes(stream, where, index, chunk, chunk_end):
    """The message indexes behind one chunk, against the messages inside it."""
    data, length = get_chunk_data_stream(chunk, validate_crc=True)
    content = data.read(length)
    messages_in_chunk = count_messages(content)
    position = chunk_end
    indexed = 0
    offsets = sorted(index.message_index_offsets.items(), key=lambda entry: entry[1])
    for channel_id, offset in offsets:
        require_equal(f"{where}: offset of the message index of channel {channel_id}", offset, position)
        record, position = read_record(stream, offset, Opcode.MESSAGE_INDEX, MessageIndex)
        require_equal(f"{where}: channel of a message index", record.channel_id, channel_id)
        for log_time, at in record.records:
            require_equal(f"{where}: record at {at}", content[at], Opcode.MESSAGE)
            (found_channel,) = struct.unpack_from("<H", content, at + RECORD_HEAD)
            (found_time,) = struct.unpack_from("<Q", content, at + RECORD_HEAD + 6)
            require_equal(f"{where}: message at {at}", (found_channel, found_time), (channel_id, log_time))
        indexed += len(record.records)
    require_equal(f"{where}: length of the message indexes", position - chunk_end, index.message_index_length)
    require_equal(f"{where}: messages indexed", indexed, messages_in_chunk)
    return indexed


def count_messages(content):
    """The message records inside a chunk's content."""
    count = 0
    at = 0
    while at < len(content):
        count += content[at] == Opcode.MESSAGE
        (length,) = struct.unpack_from("<Q", content, at + 1)
        at += RECORD_HEAD + length
    require_equal("end of the last record in a chunk", at, len(content))
    return count


def read_record(stream, offset, opcode, kind):
    """The record at an offset, and the offset after it."""
    stream.seek(offset)
    head = stream.read(RECORD_HEAD)
    require_equal(f"length of the record's head at {offset}", len(head), RECORD_HEAD)
    found, length = struct.unpack("<BQ", head)
    require_equal(f"opcode at {offset}", found, opcode)
    return kind.read(ReadDataStream(stream)), offset + RECORD_HEAD + length


def read_topic(stream, summary, topic, digest):
    """The topic's payloads through the index, in the order of log times."""
    ids = {channel.id for channel in summary.channels.values() if channel.topic == topic}
    if not ids:
        return 0, 0
    messages = size = 0
    stream.seek(0)
    for _, _, message in make_reader(stream, validate_crcs=True).iter_messages(topics=[topic]):
        digest.update(message.data)
        messages += 1
        size += len(message.data)
    counts = summary.statistics.channel_message_counts
    require_equal(f"messages of {topic} by index", messages, sum(counts.get(channel, 0) for channel in ids))
    return messages, size


def read_recording(directory, channel):
    """All sealed segments of a recording, as the JSON of the head."""
    segments = sorted(path for path in directory.iterdir() if re.fullmatch(r"\d{6}\.mcap", path.name))
    require(segments, f"{directory}: no sealed segment")
    digest = hashlib.sha256()
    messages = size = 0
    for path in segments:
        try:
            segment_messages, segment_size = read_segment(path, f"/{channel}", digest)
        except (Damaged, *UNREADABLE) as error:
            raise Damaged(f"{path.name}: {type(error).__name__}: {error}") from error
        messages += segment_messages
        size += segment_size
    return {"segments": len(segments), "messages": messages, "bytes": size, "sha256": digest.hexdigest()}


def hash_file(path):
    """Size and SHA-256 of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def main(arguments):
    """Runs the command line; returns the exit code."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    first, second = arguments
    try:
        result = hash_file(Path(second)) if first == "--sha256" else read_recording(Path(first), second)
    except Damaged as error:
        print(f"damaged: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
