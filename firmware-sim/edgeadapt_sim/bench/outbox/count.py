"""After a chaos run: what the device had made durable, what the server said and kept, and what is missing.

The truth about each side is its own journal and its own database. A held sample may be missing at the server
only if the server said, in its own words, that it is to be let go; and what was let go must look like
something that is there, or the fleet has lost sight of it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeadapt.descriptor import ALIKE, unit, unpack
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.io.store import DATABASE_NAME
from edgeadapt_sim.bench.outbox import journal, producer, server

Key = tuple[str, int]
# A cosine is reckoned here in another order than by the server.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that the device's outbox has taken: `content` "-" for a report, `vector` None: not held."""

    content: str
    vector: FloatArray | None


@dataclass(frozen=True, slots=True)
class Books:
    """What both sides have written down.

    Attributes:
        stored: by (outbox, sequence).
        published: messages handed to the client.
        arrived: messages that reached the server's process.
        kept: (key, SHA-256 of the picture or None) of each message in the server's database.
        wanted, declined: samples that the server has asked for, and told to let go, at least once.
        left: rows in the device's outbox.
    """

    stored: dict[Key, Stored]
    published: int
    arrived: int
    kept: tuple[tuple[Key, str | None], ...]
    wanted: frozenset[Key]
    declined: frozenset[Key]
    left: int


@dataclass(frozen=True, slots=True)
class Tally:
    """See `Chaos`, which takes these over."""

    committed: int
    held: int
    wanted: int
    declined: int
    unasked: int
    lost: int
    unseen: int
    twice: int


def read_books(folder: Path) -> Books:
    """Read both journals and both databases of a run that has ended."""
    device = journal.read(folder / producer.JOURNAL_NAME)
    told = journal.read(folder / server.JOURNAL_NAME)
    with closing(sqlite3.connect(folder / server.STATE_NAME / DATABASE_NAME)) as db:
        rows = db.execute("SELECT outbox, sequence, sha256 FROM messages LEFT JOIN samples USING (arrival)")
        kept = tuple(((str(outbox), int(sequence)), sha256) for outbox, sequence, sha256 in rows)
    return Books(
        stored={(w[1], int(w[2])): Stored(w[3], _vector(w[4])) for w in device if w[0] == "stored"},
        published=sum(words[0] == "published" for words in device),
        arrived=sum(words[0] == "arrived" for words in told),
        kept=kept,
        wanted=frozenset((words[1], int(words[2])) for words in told if words[0] == "wanted"),
        declined=frozenset((words[1], int(words[2])) for words in told if words[0] == "declined"),
        left=left_in(folder),
    )


def tally(books: Books) -> Tally:
    """Hold the two sides against each other."""
    there = dict(books.kept)
    held = {key: stored.vector for key, stored in books.stored.items() if stored.vector is not None}
    gone = {key: vector for key, vector in held.items() if key in books.declined and key not in there}
    # A sample must be there as itself, not only its number.
    lost = [
        key
        for key, stored in books.stored.items()
        if key not in gone and (key not in there or stored.content != (there[key] or "-"))
    ]
    contents = Counter(sha256 for _, sha256 in books.kept if sha256 is not None)
    return Tally(
        committed=len(books.stored),
        held=len(held),
        wanted=sum(key in there and key in books.wanted for key in held),
        declined=len(gone),
        unasked=sum(key in there and key not in books.wanted for key in held),
        lost=len(lost),
        unseen=_unseen(list(gone.values()), [vector for key, vector in held.items() if key in there]),
        twice=len(books.kept) - len(there) + sum(count - 1 for count in contents.values()),
    )


def _unseen(gone: list[FloatArray], kept: list[FloatArray]) -> int:
    """Samples [64] that were let go, and are alike to none that the server has."""
    if not gone or not kept:
        return len(gone)
    cosines = np.stack(gone) @ np.stack(kept).T
    return int((cosines.max(axis=1) < ALIKE - _ROUNDING).sum())


def left_in(folder: Path) -> int:
    """Rows in the device's outbox."""
    path = (folder / producer.OUTBOX_NAME).absolute().as_uri()
    with closing(sqlite3.connect(f"{path}?mode=ro", uri=True, timeout=5.0)) as db:
        return int(db.execute("SELECT count(*) FROM rows").fetchone()[0])


def _vector(word: str) -> FloatArray | None:
    return None if word == "-" else unit(unpack(bytes.fromhex(word)))
