"""What a policy sees of a frame. No image: choosing needs none."""

from __future__ import annotations

import msgspec
import numpy as np

from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.flagging.decision import Decision


class Item(msgspec.Struct, frozen=True):
    """A frame, judged.

    Attributes:
        vector: [D] float32 of length 1: the embedding, or where an engine gives none the square roots of
            the probabilities (their scalar product is then the Bhattacharyya coefficient).
        probabilities: [K] float32.
        predicted: the most likely class.
        entropy: of the prediction, in nats.
        decision: what the frame is to the model.
    """

    vector: FloatArray
    probabilities: FloatArray
    predicted: int
    entropy: float
    decision: Decision


def make_item(
    embedding: FloatArray | None,
    probabilities: FloatArray,
    predicted: int,
    entropy: float,
    decision: Decision,
) -> Item:
    """An item with a vector of length 1; one that is zero or not finite gives way to the probabilities."""
    vector = unit(embedding) if embedding is not None else None
    if vector is None:
        vector = np.sqrt(np.maximum(probabilities, 0.0)).astype(np.float32)
    return Item(vector, probabilities, predicted, entropy, decision)


def unit(vector: FloatArray) -> FloatArray | None:
    """The vector [D] at length 1; None when it has no direction."""
    wide = vector.astype(np.float64)
    length = float(np.sqrt(wide @ wide))
    if not np.isfinite(length) or length <= 0.0:
        return None
    return np.asarray(wide / length, dtype=np.float32)
