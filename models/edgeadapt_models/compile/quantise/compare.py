"""What the integers of an int8 artifact cost: its answers and its probe against the float artifact's.

Measured with the base values on source images, so it says nothing about a domain or a patch; that is
`edgeadapt bench int8`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeadapt import signature
from edgeadapt.bundle import Artifact, Bundle
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.extend import RUNTIME
from edgeadapt_models.compile.runtime import Runner

_Run: TypeAlias = Callable[[FloatArray], Mapping[str, FloatArray]]

_BATCH = 32
_PROBE = ("probe_mean", "probe_mean_square")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences between int8 and float.

    Attributes:
        agreement: share of images with the same most likely class, 0 to 1.
        logits: root mean square difference of the logits, over their standard deviation.
        mean: largest difference of a channel's mean input of a norm layer, in its standard deviations.
        deviation: largest relative difference of a channel's standard deviation there.
        signature: distance of the images' domain signatures, in source standard deviations.
    """

    agreement: float
    logits: float
    mean: float
    deviation: float
    signature: float


def compare(bundle: Bundle, frames: FloatArray, runtime: str = RUNTIME) -> Comparison:
    """Run both artifacts of a bundle.

    Args:
        bundle: with both artifacts for the runtime.
        frames: float32 [N, ...] as the model takes them.
        runtime: "onnxruntime" or "tflite".

    Raises:
        BundleError: an artifact is missing.
        CompileError: the runtime refuses the int8 model, or its answers are not finite.
    """
    expected, wanted = _run(bundle, bundle.artifact(runtime, "float32"), frames)
    actual, found = _run(bundle, bundle.artifact(runtime, "int8"), frames)
    same = expected.argmax(axis=1) == actual.argmax(axis=1)
    spread = max(float(expected.std()), float(np.finfo(np.float32).tiny))
    layers = bundle.manifest.layer_channels
    (mean, deviation), (int8_mean, int8_deviation) = _pooled(*wanted), _pooled(*found)
    # A channel that is constant on these images has no deviation to measure by.
    alive = deviation > 1e-3 * np.maximum(np.abs(mean), np.sqrt(bundle.calibration.norm_var) + 1e-6)
    alive[layers:] = False
    signatures = [signature.features(bundle.manifest, *moments).mean(axis=0) for moments in (wanted, found)]
    return Comparison(
        agreement=float(same.mean()),
        logits=float(np.sqrt(np.mean((expected - actual) ** 2))) / spread,
        mean=_largest(np.abs(int8_mean - mean)[alive] / deviation[alive]),
        deviation=_largest(np.abs(int8_deviation / np.where(alive, deviation, 1.0) - 1.0)[alive]),
        signature=signature.distance(signatures[0], signatures[1], bundle.calibration),
    )


def _run(
    bundle: Bundle, artifact: Artifact, frames: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Logits of the fast graph, and per-frame moments of all norm layers' inputs."""
    fast, probe = _runs(bundle, artifact)
    parts = [frames[start : start + _BATCH] for start in range(0, len(frames), _BATCH)]
    logits = np.concatenate([fast(part)["logits"] for part in parts])
    probed = [probe(part) for part in parts]
    mean, square = (np.concatenate([part[name] for part in probed]) for name in _PROBE)
    if not all(np.isfinite(value).all() for value in (logits, mean, square)):
        raise CompileError(f"the {artifact.title} model returns NaN or infinity for calibration images")
    return logits, bundle.inversion(artifact, {}).apply(mean, square)


def _runs(bundle: Bundle, artifact: Artifact) -> tuple[_Run, _Run]:
    """What runs the fast graph, and the probe."""
    if artifact.runtime == RUNTIME:
        fast, probe = Runner(bundle.fast_model(artifact, {})), Runner(bundle.probe_model(artifact, {}))
        return fast.run, probe.run
    from edgeadapt_models.compile.tflite.runtime import TfliteRunner, to_layout

    runner = TfliteRunner(bundle.fast_model(artifact, {}))
    return (
        lambda x: runner.run("fast", to_layout(artifact, x)),
        lambda x: runner.run("probe", to_layout(artifact, x)),
    )


def _pooled(mean: FloatArray, square: FloatArray) -> tuple[FloatArray, FloatArray]:
    centre = mean.mean(axis=0, dtype=np.float64)
    variance = np.maximum(square.mean(axis=0, dtype=np.float64) - centre**2, 0.0)
    return centre.astype(np.float32), np.sqrt(variance).astype(np.float32)


def _largest(values: FloatArray) -> float:
    return float(values.max()) if values.size else 0.0
