"""What is asked of the study and what it finds: frozen values, as they stand in `outbox.json`."""

from __future__ import annotations

from typing import Literal

import msgspec

Durability = Literal["normal", "full"]


class OutboxPlan(msgspec.Struct, frozen=True):
    """The whole study.

    Attributes:
        rows: messages per throughput run.
        payload_bytes: of one sample's picture.
        rounds: how often each durability has its turn.
        kills: SIGKILLs of the chaos run; 0 leaves it out.
        cuts: copies of a database at a random moment.
        durability: of the device in the chaos run.
        frames_per_second: samples that the device of the chaos run stores.
        seed: of everything that is drawn.
    """

    rows: int = 2000
    payload_bytes: int = 9000
    rounds: int = 3
    kills: int = 200
    cuts: int = 100
    durability: Durability = "normal"
    frames_per_second: float = 12.0
    seed: int = 1


class Speed(msgspec.Struct, frozen=True):
    """One round of one durability.

    Attributes:
        inserts_per_s: `store`, one transaction each.
        acks_per_s: rows deleted, in acknowledgements of 16.
        disk_bytes_per_message: database and WAL over what is stored, payload included.
        recovery_s: from the start of a process to an open outbox that knows all its rows, after `kill -9`.
        recovered: rows that it knows then; as many as were stored.
    """

    durability: Durability
    secure_delete: bool
    inserts_per_s: float
    acks_per_s: float
    disk_bytes_per_message: float
    recovery_s: float
    recovered: int


class PowerCut(msgspec.Struct, frozen=True):
    """Copies of the file at random moments, some with a torn WAL, opened as after a power cut.

    Attributes:
        cuts: copies that were made.
        torn: of those, with a WAL whose end was cut off or overwritten with noise.
        opened: that opened as the same outbox.
        lost_durable: rows that were on the disk when the WAL was whole, and are not in the copy.
        reused: copies in which a sequence would have been given out twice.
        most_lost: rows that a torn WAL lost at most; these are what "normal" may lose to a power cut.
    """

    durability: Durability
    cuts: int
    torn: int
    opened: int
    lost_durable: int
    reused: int
    most_lost: int


class Chaos(msgspec.Struct, frozen=True):
    """What was committed, and what became of it.

    Attributes:
        kills: SIGKILLs, by victim.
        links: what was done to the device's link, by kind.
        committed: messages that the device's outbox had taken.
        published: times that one was handed to the client.
        arrived: times that one reached the server's process.
        kept: messages in the server's database.
        lost: committed, and not there; a held sample only if the server never told to let it go.
        twice: there more than once after deduplication: by (device, outbox, sequence), or by their content.
        left: rows that are still in the outbox at the end.
        drained_s: from the last kill until the outbox was empty.
        held: of the committed ones, samples that waited to be wanted.
        wanted: of those, asked for by the server, and there.
        declined: of those, let go because the server said so, and not there.
        unasked: of those, there without having been asked for: the answer was lost too often.
        unseen: declined ones that look like nothing that is there.
    """

    kills: dict[str, int]
    links: dict[str, int]
    broker: str
    seconds: float
    committed: int
    published: int
    arrived: int
    kept: int
    lost: int
    twice: int
    left: int
    drained_s: float
    held: int = 0
    wanted: int = 0
    declined: int = 0
    unasked: int = 0
    unseen: int = 0

    @property
    def repeats(self) -> int:
        """Arrivals that the server had to recognise."""
        return self.arrived - self.kept

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing twice, nothing left, and nothing let go that nobody has."""
        return not (self.lost or self.twice or self.left or self.unseen)
