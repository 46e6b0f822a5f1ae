"""What each purpose has cost on the link since start, both ways. Only counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgeadapt.wire import Lane, LedgerLine

Purpose = Literal["adapt", "ask", "audit", "descriptor", "report", "control", "patch"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(slots=True)
class _Count:
    up_bytes: int = 0
    down_bytes: int = 0
    messages: int = 0


class Ledger:
    """Counts by purpose."""

    def __init__(self) -> None:
        self._counts: dict[Purpose, _Count] = {purpose: _Count() for purpose in PURPOSES}

    def up(self, purpose: Purpose, size_bytes: int, messages: int = 1) -> None:
        """Bytes that were sent."""
        count = self._counts[purpose]
        count.up_bytes += size_bytes
        count.messages += messages

    def down(self, purpose: Purpose, size_bytes: int, messages: int = 1) -> None:
        """Bytes that were received."""
        count = self._counts[purpose]
        count.down_bytes += size_bytes
        count.messages += messages

    @property
    def up_bytes(self) -> int:
        """Sent, for all purposes."""
        return sum(count.up_bytes for count in self._counts.values())

    @property
    def down_bytes(self) -> int:
        """Received, for all purposes."""
        return sum(count.down_bytes for count in self._counts.values())

    def lines(self) -> tuple[LedgerLine, ...]:
        """One for each purpose, in order."""
        return tuple(
            LedgerLine(
                purpose=purpose,
                bytes_up=count.up_bytes,
                bytes_down=count.down_bytes,
                messages=count.messages,
            )
            for purpose, count in self._counts.items()
        )


def lane_of(name: str) -> Lane:
    """The lane of a sample, by the name in its row; rows of an older release have none."""
    return "ask" if name == "ask" else "audit" if name == "audit" else "adapt"


def purpose_of(kind: str, lane: str = "") -> Purpose:
    """What a row of the outbox, or a message of this kind on the link, is for."""
    match kind:
        case "sample":
            return lane_of(lane)
        case "descriptor":
            return "descriptor"
        case "signature" | "outcome" | "metric":
            return "report"
        case "patch":
            return "patch"
        case _:
            return "control"
