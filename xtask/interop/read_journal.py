#!/usr/bin/env python3
"""Follows a journal's hash chain with the Python `mcap` package and `hashlib` alone.

    read_journal.py DIR     DIR holds the journal's NNNNNN.mcap; prints one line of JSON:
                            {"entries", "head", "last_kind", "last_prev"}

Entry n is a message of topic /journal with sequence n: a JSON object with
"entry": n and "prev", the hash of all before it. hash(0) is 32 zero bytes, and
hash(n) = SHA-256(hash(n-1), payload of n).

Exit codes: 0; 1 the chain is broken, said on standard error after "damaged:"; 2
wrong usage.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from mcap.reader import make_reader


class Broken(Exception):
    """An entry is not what the chain says."""


def follow(directory):
    """All entries of all segments, in order."""
    segments = sorted(path for path in directory.iterdir() if re.fullmatch(r"\d{6}\.mcap", path.name))
    head = bytes(32)
    number = 0
    entry = {}
    for path in segments:
        with path.open("rb") as stream:
            messages = make_reader(stream, validate_crcs=True).iter_messages(
                topics=["/journal"], log_time_order=False
            )
            for _, _, message in messages:
                number += 1
                entry = json.loads(message.data)
                said = (message.sequence, entry["entry"], entry["prev"])
                if said != (number, number, head.hex()):
                    raise Broken(f"entry {number}: {said}, expected {(number, number, head.hex())}")
                head = hashlib.sha256(head + message.data).digest()
    if number == 0:
        raise Broken("no entries")
    return {"entries": number, "head": head.hex(), "last_kind": entry["kind"], "last_prev": entry["prev"]}


def main(arguments):
    """Runs the command line; returns the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        result = follow(Path(arguments[0]))
    except Broken as error:
        print(f"damaged: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
