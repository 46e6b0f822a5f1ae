"""Frames that were strange before the model had adapted: kept, at most so many and so large, to be scored
again once it has.

A segment's suspects are a uniform sample of its strange frames (reservoir sampling, Vitter's algorithm R,
1985). They are of one domain: a new segment begins with none. Images are copied, for a caller's buffer is
its own, and a frame of a batch would keep the whole batch. Memory only: a restart forgets them.
"""

from __future__ import annotations

import msgspec
import numpy as np

from edgeadapt_device.core.uplink.candidate import Candidate


def kept(frame: Candidate) -> Candidate:
    """The frame with arrays of its own."""
    embedding = frame.embedding.copy() if frame.embedding is not None else None
    return msgspec.structs.replace(frame, image=frame.image.copy(), embedding=embedding)


def size_bytes(frame: Candidate) -> int:
    """Memory that a kept frame takes, about."""
    embedding = frame.embedding.nbytes if frame.embedding is not None else 0
    return int(frame.image.nbytes) + embedding + int(frame.probabilities.nbytes) + 512


class Suspects:
    """A bounded sample of one segment's strange frames, and those that are being scored again."""

    def __init__(self, most: int, most_bytes: int, rng: np.random.Generator) -> None:
        self._most, self._most_bytes, self._rng = most, most_bytes, rng
        self._frames: list[Candidate] = []
        self._seen = 0

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._frames)

    def new_segment(self) -> None:
        """What was strange in another domain proves nothing in this one."""
        self._frames, self._seen = [], 0

    def offer(self, frame: Candidate) -> bool:
        """Take a strange frame, maybe in the place of another; True when it was kept."""
        self._seen += 1
        room = min(self._most, self._most_bytes // size_bytes(frame))
        if len(self._frames) < room:
            self._frames.append(kept(frame))
            return True
        # As after algorithm R: each of all seen so far is kept with the same chance.
        place = int(self._rng.integers(self._seen))
        if place >= min(room, len(self._frames)):
            return False
        self._frames[place] = kept(frame)
        return True

    def take(self) -> Candidate | None:
        """One of them, to be scored again; None when all were."""
        return self._frames.pop() if self._frames else None
