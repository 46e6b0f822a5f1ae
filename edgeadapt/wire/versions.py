"""Which version of the protocol two sides speak to each other.

Each says in its retained status the lowest and the highest version that it can speak; both take the highest
that they have in common. A side that has not heard the other yet speaks its own lowest, which the most can
read. With none in common nothing but the greetings is sent. Not here: what differs between versions.
"""

from __future__ import annotations

Versions = tuple[int, int]


def highest_common(mine: Versions, theirs: Versions) -> int | None:
    """The version to speak, or None when there is none; both are (lowest, highest)."""
    highest = min(mine[1], theirs[1])
    return highest if highest >= max(mine[0], theirs[0]) else None


def in_words(versions: Versions) -> str:
    """As "1" or "2 to 3"."""
    low, high = versions
    return f"{low}" if low == high else f"{low} to {high}"
