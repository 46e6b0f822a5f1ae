"""Outputs of a made-up classifier: Gaussian classes in an embedding, a linear head, and style features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt.scoring import Head, Outputs, Source
from edgeadapt.tensors import FloatArray

CLASSES, WIDTH, STYLE = 5, 24, 6


def head(classes: int = CLASSES, width: int = WIDTH) -> Head:
    """A fixed head with a bias."""
    rng = np.random.default_rng(100)
    weight = rng.normal(0, 0.7, (classes, width)).astype(np.float32)
    return Head(weight, rng.normal(0, 0.3, classes).astype(np.float32))


def outputs_of(embedding: npt.NDArray[np.floating], style: npt.NDArray[np.floating], made: Head) -> Outputs:
    """What the classifier says of embeddings [N, D]; the temperature rises where no class is likely."""
    wide = embedding.astype(np.float64)
    logits = (wide @ made.weight.T.astype(np.float64) + made.bias).astype(np.float32)
    temperature = (1.0 / (1.0 + np.exp(logits.max(axis=1) / 10.0))).astype(np.float32)
    return Outputs(logits, embedding.astype(np.float32), style.astype(np.float32), temperature)


def familiar(count: int, seed: int, classes: int = CLASSES) -> Source:
    """Frames of known classes, as a model sees them: few directions vary much, and no value is negative."""
    rng = np.random.default_rng(seed)
    made = head(classes)
    labels = rng.integers(0, classes, count)
    spread = np.geomspace(1.0, 0.05, WIDTH)
    embedding = np.maximum(_centres(classes)[labels] + spread * rng.standard_normal((count, WIDTH)), 0.0)
    style = 1.0 + np.arange(STYLE) + 0.1 * rng.standard_normal((count, STYLE))
    return Source(outputs_of(embedding, style, made), labels.astype(np.int64), made)


def strange(count: int, seed: int) -> Outputs:
    """Frames of no class and of another style."""
    rng = np.random.default_rng(seed)
    embedding = np.maximum(0.5 * rng.standard_normal((count, WIDTH)), 0.0)
    style = 3.0 + np.arange(STYLE) + 0.5 * rng.standard_normal((count, STYLE))
    return outputs_of(embedding, style, head())


def rows(outputs: Outputs, index: npt.NDArray[np.intp] | slice) -> Outputs:
    """Some frames."""

    def cut(value: FloatArray | None) -> FloatArray | None:
        return None if value is None else value[index]

    return Outputs(
        outputs.logits[index], cut(outputs.embedding), cut(outputs.style), cut(outputs.temperature)
    )


def _centres(classes: int) -> npt.NDArray[np.float64]:
    """Where the head says each class is, seen from where it says nothing."""
    made = head(classes)
    weight = made.weight.astype(np.float64)
    return np.asarray(3.0 + 3.0 * weight / np.linalg.norm(weight, axis=1, keepdims=True))
