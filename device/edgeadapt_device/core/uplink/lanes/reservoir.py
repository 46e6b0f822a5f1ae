"""A fair sample of a window, class by class, bounded in frames and in bytes (Vitter, 1985, algorithm R).

Every frame of a class in the window has the same chance to be held when the window ends, however many
came; a rare class keeps its few. Not here: what becomes of those that are held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from edgeadapt.tensors import FloatArray

T = TypeVar("T")


@dataclass(slots=True)
class _Class(Generic[T]):
    seen: int = 0
    held: list[tuple[T, int]] = field(default_factory=list)


class Reservoir(Generic[T]):
    """Holds things of several classes, at most `per_class` of each and `max_bytes` in all."""

    def __init__(self, per_class: int, max_bytes: int, rng: np.random.Generator) -> None:
        self._per_class, self._max_bytes, self._rng = per_class, max_bytes, rng
        self._classes: dict[int, _Class[T]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """How many things are held."""
        return sum(len(group.held) for group in self._classes.values())

    @property
    def held_bytes(self) -> int:
        """What they take."""
        return self._bytes

    def place(self, label: int, size_bytes: int) -> int | None:
        """Where the next thing of a class goes, or None when it is not to be held.

        Counts it as seen. With an answer call `put` next: the thing itself may be costly to copy, and most
        are not held.
        """
        group = self._classes.setdefault(label, _Class())
        group.seen += 1
        if size_bytes > self._max_bytes:
            return None
        if len(group.held) < self._per_class and self._bytes + size_bytes <= self._max_bytes:
            return len(group.held)
        if not group.held:
            # A class that has nothing yet gets places of the largest ones.
            return 0 if self._make_room(size_bytes) else None
        slot = int(self._rng.integers(group.seen))
        if slot >= len(group.held):
            return None
        return slot if self._bytes - group.held[slot][1] + size_bytes <= self._max_bytes else None

    def put(self, label: int, slot: int, thing: T, size_bytes: int) -> None:
        """Hold a thing at its place, instead of what was there."""
        held = self._classes[label].held
        if slot < len(held):
            self._bytes -= held[slot][1]
            held[slot] = (thing, size_bytes)
        else:
            held.append((thing, size_bytes))
        self._bytes += size_bytes

    def _make_room(self, size_bytes: int) -> bool:
        """Drop things, at random, of the classes that hold the most; False when each has just one."""
        while self._bytes + size_bytes > self._max_bytes:
            group = max(self._classes.values(), key=lambda g: len(g.held))
            if len(group.held) < 2:
                return False
            _, freed_bytes = group.held.pop(int(self._rng.integers(len(group.held))))
            self._bytes -= freed_bytes
        return True

    def drain(self) -> tuple[list[T], FloatArray]:
        """Everything held, and for each how many frames of the window it stands for [N]; empties it."""
        things: list[T] = []
        weights: list[float] = []
        for label in sorted(label for label, group in self._classes.items() if group.held):
            group = self._classes[label]
            things += [thing for thing, _ in group.held]
            weights += [group.seen / len(group.held)] * len(group.held)
        self._classes, self._bytes = {}, 0
        return things, np.asarray(weights, dtype=np.float32)
