"""A signature names the domain a device is in without sending any image.

It is the mean, over a window of frames, of per-frame features of the first norm layer's input: the
mean and the standard deviation of each channel over positions. No slot reaches what is measured (a
model with an input prompt has a copy of that tensor without it, `Manifest.signature_offset`), so a
signature does not change when the model is patched or its statistics move. Distances are between whitened
features (`whitening`), root mean square: one frame of the source lies 1 from its mean, so thresholds carry
over between models.

Windows see drift where single frames do not: the window mean of n frames has standard error 1/sqrt(n).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.bundle.manifest import Manifest
from edgeadapt.tensors import FloatArray
from edgeadapt.whitening import whiten

_CLASS_PRIOR_FRAMES = 4.0


@dataclass(frozen=True, slots=True)
class Signature:
    """Mean signature features.

    Attributes:
        vector: [S] mean features.
        count: number of frames behind it.
    """

    vector: FloatArray
    count: int


def features(manifest: Manifest, mean: FloatArray, mean_square: FloatArray) -> FloatArray:
    """Signature features of each frame.

    Args:
        manifest: says where in the probe vectors the signature's channels are.
        mean: [N, P] per-frame probe means.
        mean_square: [N, P] per-frame probe mean squares.

    Returns:
        [N, S] float32 with S = 2 * channels of the first norm layer: means, then standard deviations.
    """
    # The first layer begins at 0, and so does the signature where there is no copy.
    start = manifest.signature_offset
    part = slice(start, start + manifest.norm_layers[0].channels)
    centre = mean[:, part]
    spread = np.sqrt(np.maximum(mean_square[:, part] - centre**2, 0.0))
    return np.concatenate([centre, spread], axis=1).astype(np.float32)


def class_means(
    vectors: npt.NDArray[np.floating], predicted: npt.NDArray[np.integer], classes: int
) -> FloatArray:
    """[K, S] mean features of the frames that are taken for each class, as a device knows no other labels.

    The mean over all frames counts as some more: of 1,000 classes each may have four frames, or none.

    Args:
        vectors: [N, S] features of the source's frames.
        predicted: [N] classes that the model gives.
        classes: K.
    """
    values = vectors.astype(np.float64)
    counts = np.bincount(predicted, minlength=classes).astype(np.float64)
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, predicted, values)
    prior = _CLASS_PRIOR_FRAMES * values.mean(axis=0)
    return np.asarray((sums + prior) / (counts + _CLASS_PRIOR_FRAMES)[:, None], dtype=np.float32)


def probe_distance(mean: FloatArray, calibration: Calibration) -> float:
    """How far one frame's probe means [P] lie from the source's, over all norm layers.

    Root mean square over channels, in source standard deviations of the layers' inputs. What a patch does
    to the deeper layers shows here, unlike in a signature. Infinity when a mean is not finite.
    """
    scale = np.sqrt(np.maximum(calibration.norm_var, 1e-12))
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(np.sqrt(np.mean(((mean - calibration.norm_mean) / scale).astype(np.float64) ** 2)))
    return value if np.isfinite(value) else float("inf")


def distance(a: FloatArray, b: FloatArray, calibration: Calibration) -> float:
    """Root mean square difference of two signature vectors [S], whitened: in source standard deviations.

    Returns infinity when either holds NaN or Inf, or their lengths differ from the calibration's.
    """
    shape = calibration.signature_std.shape
    if a.shape != shape or b.shape != shape:
        return float("inf")
    with np.errstate(over="ignore", invalid="ignore"):
        difference = whiten(a.astype(np.float64) - b, calibration)
        value = float(np.sqrt(np.mean(difference**2)))
    return value if np.isfinite(value) else float("inf")
