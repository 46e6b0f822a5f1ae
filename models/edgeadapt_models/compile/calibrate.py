"""Measure on source data what a device needs to judge its own input.

Everything is computed by the probe graph in ONNX Runtime, as the device will compute it, so that its
figures and these differ only by the data. Which data are the right ones is the caller's choice (the split
the model was fitted on); how the figures are used is in `edgeadapt.normstats` and `edgeadapt.signature`.

A class without labelled data gets the mean embedding of all frames, weighted by the probability that the
model gives the class: the labels are then the model's own, and soft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt import drift, scoring, signature, whitening
from edgeadapt.bundle import Calibration, Manifest
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.outputs import OUTPUTS
from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.source.frames import Frames

QUANTILES = 65
_MAX_BATCH = 256
_BATCH_VALUES = 1_200_000
"""Input values per batch: 8 images of 224 x 224; activations take tens of times as much memory."""


@dataclass(frozen=True, slots=True)
class Moments:
    """float64 [P] mean and mean square of what the probe measures, over frames and positions."""

    mean: npt.NDArray[np.float64]
    mean_square: npt.NDArray[np.float64]

    @property
    def var(self) -> npt.NDArray[np.float64]:
        """[P] variance, not negative."""
        return np.maximum(self.mean_square - self.mean**2, 0.0)


@dataclass(frozen=True, slots=True)
class Source:
    """What a model says of the source data.

    Attributes:
        logits: [N, K].
        embedding: [N, D].
        moments: of all layers.
        features: [N, S] signature features.
    """

    logits: FloatArray
    embedding: FloatArray
    moments: Moments
    features: FloatArray


@dataclass(frozen=True, slots=True)
class Fitted:
    """What travels of the scorers (`scorers`).

    Attributes:
        tensors: by scorer, then by the scorer's own names.
        knots: [64] by scorer.
        notes: for people.
    """

    tensors: Mapping[str, Mapping[str, npt.NDArray[Any]]]
    knots: Mapping[str, FloatArray]
    notes: tuple[str, ...]


def measure(probe_model: bytes, manifest: Manifest, data: Frames) -> Source:
    """Run the probe graph over source data.

    Args:
        probe_model: bytes of the model followed by the probe suffix, at base values.
        manifest: for the input and the norm layers.
        data: source data.

    Raises:
        CompileError: an output is not finite.
    """
    parts: dict[str, list[FloatArray]] = {name: [] for name in (*OUTPUTS, "features")}
    sums = [np.zeros(manifest.probe_channels) for _ in PROBE_OUTPUTS]
    for outputs in _run(Runner(probe_model), manifest, data):
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise CompileError(f"output {name!r} holds NaN or infinity on the calibration data")
        mean, mean_square = (outputs[name] for name in PROBE_OUTPUTS)
        parts["features"].append(signature.features(manifest, mean, mean_square))
        for name in OUTPUTS:
            parts[name].append(outputs[name])
        for total, value in zip(sums, (mean, mean_square), strict=True):
            total += value.sum(axis=0, dtype=np.float64)
    moments = Moments(*(total / len(data.frames) for total in sums))
    logits, embedding, features = (np.concatenate(parts[name]) for name in (*OUTPUTS, "features"))
    return Source(logits, embedding, moments, features)


def calibrate(
    source: Source, manifest: Manifest, labels: npt.NDArray[np.integer] | None, fitted: Fitted | None = None
) -> Calibration:
    """Make a calibration of what was measured.

    Args:
        source: from `measure`.
        manifest: for the number of classes.
        labels: [N] classes; None when they are not known.
        fitted: scorers; None for a bundle without.
    """
    probabilities = scoring.softmax(source.logits)
    entropies = scoring.entropy(probabilities).astype(np.float64)
    features = source.features.astype(np.float64)
    predicted = probabilities.argmax(axis=1)
    found = Calibration(
        norm_mean=source.moments.mean.astype(np.float32),
        norm_var=source.moments.var.astype(np.float32),
        signature_mean=features.mean(axis=0).astype(np.float32),
        signature_std=features.std(axis=0).astype(np.float32),
        class_signatures=signature.class_means(features, predicted, len(manifest.classes)),
        prototypes=prototypes(source.embedding, probabilities, labels),
        entropy_quantiles=np.quantile(entropies, np.linspace(0, 1, QUANTILES)).astype(np.float32),
        signature_whitening=whitening.fit(source.features),
        scorers=fitted.tensors if fitted is not None else {},
        knots=fitted.knots if fitted is not None else {},
    )
    tolerance = drift.tolerance(source.features, predicted, predicted if labels is None else labels, found)
    return replace(found, drift_tolerance=np.array([tolerance], dtype=np.float32))


def prototypes(
    embedding: FloatArray, probabilities: FloatArray, labels: npt.NDArray[np.integer] | None
) -> FloatArray:
    """[K, D] mean embedding of each class; see the module's docstring for classes without labels."""
    weights = probabilities.astype(np.float64)
    soft: npt.NDArray[np.float64] = weights.T @ embedding
    soft /= np.maximum(weights.sum(axis=0), 1e-300)[:, None]
    if labels is not None:
        for k in sorted(set(labels.tolist())):
            soft[k] = embedding[labels == k].mean(axis=0, dtype=np.float64)
    return soft.astype(np.float32)


def classes_without_data(labels: npt.NDArray[np.integer] | None, classes: int) -> int:
    """How many classes have no labelled frame."""
    return classes if labels is None else classes - len(set(labels.tolist()))


def _run(runner: Runner, manifest: Manifest, data: Frames) -> Iterator[dict[str, FloatArray]]:
    spec = manifest.input
    batch = int(np.clip(_BATCH_VALUES // max(1, int(np.prod(spec.shape))), 1, _MAX_BATCH))
    for start in range(0, len(data.frames), batch):
        yield runner.run(frames_to_input(spec, data.frames[start : start + batch]))
