"""What was sent in this segment, as vectors: against it the next choice must be new."""

from __future__ import annotations

import numpy as np

from edgeadapt.tensors import FloatArray


class Memory:
    """The newest `limit` vectors, all of one length D; forgets the oldest beyond it."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._rows: FloatArray | None = None
        self._count = 0

    def add(self, vector: FloatArray) -> None:
        """Remember [D]."""
        if self._rows is None or self._rows.shape[1] != len(vector):
            self._rows, self._count = np.zeros((self._limit, len(vector)), np.float32), 0
        self._rows[self._count % self._limit] = vector
        self._count += 1

    @property
    def vectors(self) -> FloatArray | None:
        """[M, D], in no order; None when nothing was sent."""
        if self._rows is None or not self._count:
            return None
        return self._rows[: min(self._count, self._limit)]

    def nearest(self, vectors: FloatArray) -> FloatArray:
        """Of N vectors [N, D] the largest scalar product with one that was sent [N]; -1 when none was."""
        sent = self.vectors
        if sent is None or sent.shape[1] != vectors.shape[1]:
            return np.full(len(vectors), -1.0, np.float32)
        return np.asarray((vectors @ sent.T).max(axis=1), dtype=np.float32)

    def clear(self) -> None:
        """Everything is new again."""
        self._count = 0
