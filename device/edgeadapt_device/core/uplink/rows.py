"""What the core knows of a row of the outbox; its content stays there."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from edgeadapt.wire import DescriptorItem


class Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sample that is not sent before the server wants it.

    Attributes:
        item: what the server is told of it; the outbox fills in its sequence and size.
        segment: stretch of one domain.
        generation: what scored it.
    """

    item: DescriptorItem
    segment: int
    generation: str


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row of the outbox that the server has not acknowledged.

    Attributes:
        sequence: in the outbox.
        kind: as in its topic.
        size_bytes: of the MQTT payload.
        lane: of a sample, else "".
        waiting: what a held row waits with; None when it is to be sent.
        announced: the server was told of a held row, or is about to be.
    """

    sequence: int
    kind: str
    size_bytes: int
    lane: str = ""
    waiting: Waiting | None = None
    announced: bool = False

    @property
    def held(self) -> bool:
        """True for a row that waits to be wanted."""
        return self.waiting is not None
