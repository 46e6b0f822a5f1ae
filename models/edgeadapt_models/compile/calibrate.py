"""Measure on source images what a device needs to judge its own input.

Everything is computed by the probe graph in ONNX Runtime, as the device will compute it, so that its
figures and these differ only by the data. Which images are the right ones is the caller's choice (the split
the model was fitted on); how the figures are used is in `edgeadapt.normstats` and `edgeadapt.signature`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt import scoring, signature
from edgeadapt.bundle import Calibration, Manifest
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.export import OUTPUTS
from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.runtime import Runner, to_input

QUANTILES = 65
_BATCH = 256


def calibrate(
    probe_model: bytes,
    manifest: Manifest,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
) -> Calibration:
    """Run the probe graph over the calibration images.

    Args:
        probe_model: bytes of the model followed by the probe suffix.
        manifest: for the norm layers and the number of classes.
        images: uint8 [N, H, W, C] source images.
        labels: [N] their classes; every class must be there.

    Raises:
        CompileError: the model's outputs on some image are not finite.
    """
    outputs = _run(Runner(probe_model), images)
    for name, value in outputs.items():
        if not np.isfinite(value).all():
            raise CompileError(f"output {name!r} holds NaN or infinity on the calibration images")
    logits, embedding = (outputs[name] for name in OUTPUTS)
    mean, mean_square = (outputs[name] for name in PROBE_OUTPUTS)
    features = signature.features(manifest, mean, mean_square).astype(np.float64)
    centre = mean.mean(axis=0, dtype=np.float64)
    variance = np.maximum(mean_square.mean(axis=0, dtype=np.float64) - centre**2, 0.0)
    entropies = scoring.entropy(scoring.softmax(logits)).astype(np.float64)
    prototypes = [embedding[labels == k].mean(axis=0) for k in range(len(manifest.classes))]
    return Calibration(
        norm_mean=centre.astype(np.float32),
        norm_var=variance.astype(np.float32),
        signature_mean=features.mean(axis=0).astype(np.float32),
        signature_std=features.std(axis=0).astype(np.float32),
        prototypes=np.stack(prototypes).astype(np.float32),
        entropy_quantiles=np.quantile(entropies, np.linspace(0, 1, QUANTILES)).astype(np.float32),
    )


def _run(runner: Runner, images: npt.NDArray[np.uint8]) -> dict[str, FloatArray]:
    batches = [
        runner.run(to_input(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in runner.outputs}
