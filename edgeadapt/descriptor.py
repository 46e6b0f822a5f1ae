"""A frame in 64 bytes: enough to tell whether two frames, of two devices even, look alike to the model.

    describe(embedding - centre) = int8(127 u / max|u|),   u = R (embedding - centre)

`centre` is the mean of the source's class prototypes: activations after a ReLU all point one way, and without
it every two of them would look alike. R [64, D] holds +1 and -1 (Achlioptas, "Database-friendly random
projections", JCSS 2003): inner products stay, within about 1/8. Its signs are the bits of SHAKE-256 over a
fixed text and D, so that all devices of a bundle agree whatever their numpy, and a device written in another
language can follow. Only the direction is kept: compare by `cosine`.

Defined for every input: what is not finite, or lies at the centre, is 64 zeros, alike to nothing.
Not here: clusters (the device's quarantine), and duplicates over a fleet (the cloud).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import WireError
from edgeadapt.tensors import FloatArray

SIZE = 64
#: Cosine above which two descriptors are of the same thing.
ALIKE = 0.75
_SEED = b"edgeadapt descriptor 1"

Vector = npt.NDArray[np.int8]


class Describer:
    """Descriptors under one bundle."""

    def __init__(self, prototypes: FloatArray) -> None:
        """Centre on the mean of the source's class prototypes [K, D]."""
        self._centre = prototypes.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._signs = signs(prototypes.shape[1])

    def describe(self, embedding: FloatArray) -> Vector:
        """Of one embedding [D] float32: [64] int8, or zeros where there is nothing to tell."""
        if embedding.shape != self._centre.shape or not np.isfinite(embedding).all():
            return np.zeros(SIZE, np.int8)
        # In double precision float32 neither overflows, nor does the order of the sums show in the bytes.
        u = self._signs @ (embedding.astype(np.float64) - self._centre)
        largest = float(np.abs(u).max(initial=0.0))
        if largest == 0.0:
            return np.zeros(SIZE, np.int8)
        return np.asarray(np.rint(u * (127.0 / largest)), dtype=np.int8)


def signs(length: int) -> npt.NDArray[np.float64]:
    """[64, D] of +1 and -1 for embeddings of D values; row by row, the highest bit of a byte first."""
    bits = SIZE * length
    digest = hashlib.shake_256(_SEED + length.to_bytes(4, "little")).digest((bits + 7) // 8)
    flat = np.unpackbits(np.frombuffer(digest, np.uint8), count=bits)
    return (1.0 - 2.0 * flat.astype(np.float64)).reshape(SIZE, length)


def unit(vectors: Vector) -> FloatArray:
    """Descriptors [..., 64] as float32 of length 1; zeros stay zeros."""
    floats = vectors.astype(np.float32)
    lengths = np.sqrt(np.sum(floats * floats, axis=-1, keepdims=True))
    return np.asarray(floats / np.maximum(lengths, 1e-6), dtype=np.float32)


def cosine(a: Vector, b: Vector) -> float:
    """How alike two descriptors [64] are, -1 to 1; 0 where one is zeros."""
    return float(unit(a) @ unit(b))


def pack(vector: Vector) -> bytes:
    """As it travels: 64 bytes."""
    return vector.astype(np.int8).tobytes()


def unpack(data: bytes) -> Vector:
    """The inverse; raises WireError unless there are 64 bytes."""
    if len(data) != SIZE:
        raise WireError(f"a descriptor has {SIZE} bytes, got {len(data)}")
    return np.frombuffer(data, np.int8).copy()
