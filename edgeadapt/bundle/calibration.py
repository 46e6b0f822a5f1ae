"""What the bundle knows about its source data: kilobytes that let a device judge its own input.

All values are measured at compile time on the source fit split, but for the scorers' knots, which are of
frames that nothing was fitted on. See `normstats`, `signature` and `scoring` for how they are used; what a
scorer's tensors mean is for the scorer to say (`scoring.suite`).

In the file, tensor `x` of scorer `energy` is called `scorer.energy.x` and its knots `knots.energy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import BundleError, WireError
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors

# As many as the file could hold if it had them.
_MOST_VALUES = 16 << 20
_SCORER, _KNOTS = "scorer.", "knots."
_KNOT_COUNT = 64
# Of features that are not whitened, which vary more from class to class.
_TOLERANCE = 0.2
# Where no class has a signature of its own, one class alone must not look like drift: 6,000 images sorted
# by class begin no segment from 0.5 on (ResNet-8 on Fashion-MNIST and CIFAR-10; at 0.2: 59 and 264).
_BLIND_TOLERANCE = 0.6
_SCORER_TYPES = (np.float16, np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Source statistics (float32; tensors of scorers may be float16).

    Attributes:
        norm_mean: [P] mean of every norm layer's input, end to end (P = manifest.probe_channels), and of the
            signature's copy where there is one.
        norm_var: [P] its variance over images and positions.
        signature_mean: [S] mean over images of the signature features of `signature.features`.
        signature_std: [S] their standard deviation over images.
        class_signatures: [K, S] their mean over the images that the model takes for a class, drawn towards
            that over all images where those are few; a bundle made without it gets that one for all, and a
            wide `drift_tolerance`.
        prototypes: [K, D] mean embedding of each class.
        entropy_quantiles: [Q] quantiles 0..1 of the prediction entropy (nats) on source images.
        signature_whitening: [B, G, G] with B * G = S: takes the correlations out of signature features
            (`edgeadapt.whitening`); of no size in a bundle made without it, which stands for the identity.
        drift_tolerance: [1] how far frames of one class may lie from what is expected of them, on the mean,
            before that is drift (`edgeadapt.drift`).
        scorers: tensors of fitted scorers, by the scorer's name and then by their own.
        knots: [64] ascending, for every scorer that the bundle has (`scoring.conformal`).
    """

    norm_mean: FloatArray
    norm_var: FloatArray
    signature_mean: FloatArray
    signature_std: FloatArray
    class_signatures: FloatArray
    prototypes: FloatArray
    entropy_quantiles: FloatArray
    signature_whitening: FloatArray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    drift_tolerance: FloatArray = field(default_factory=lambda: np.full(1, _TOLERANCE, np.float32))
    scorers: Mapping[str, Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)
    knots: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def knows_classes(self) -> bool:
        """Whether classes have signatures of their own, so that a run of one class is told from drift."""
        signatures = self.class_signatures
        return len(signatures) < 2 or bool((signatures != signatures[0]).any())

    def encode(self) -> bytes:
        """Serialise for `calibration.safetensors`."""
        flat = {name: getattr(self, name) for name in _PLAIN}
        for scorer, tensors in self.scorers.items():
            flat |= {f"{_SCORER}{scorer}.{name}": value for name, value in tensors.items()}
        return encode_tensors(flat | {_KNOTS + name: value for name, value in self.knots.items()})

    @staticmethod
    def decode(data: bytes) -> Calibration:
        """Parse `calibration.safetensors`; raises BundleError on missing, extra or non-finite tensors."""
        try:
            tensors = decode_tensors(data)
        except WireError as error:
            raise BundleError(f"calibration.safetensors: {error}") from error
        scorers, knots = _take_scorers(tensors)
        if "class_signatures" not in tensors and {"signature_mean", "prototypes"} <= set(tensors):
            classes, mean = len(np.atleast_1d(tensors["prototypes"])), tensors["signature_mean"]
            if classes * mean.size > _MOST_VALUES:
                raise BundleError(
                    f"calibration.safetensors: {classes} prototypes and a signature of {mean.size}: too many"
                )
            tensors["class_signatures"] = np.tile(mean, (classes, 1))
            tensors.setdefault("drift_tolerance", np.full(1, _BLIND_TOLERANCE, np.float32))
        odd = ", ".join(sorted(set(tensors) ^ _PLAIN - (_NEWER - set(tensors))))
        if odd:
            raise BundleError(f"calibration.safetensors: missing or unknown tensors: {odd}")
        for name, value in tensors.items():
            if value.dtype != np.float32 or not np.isfinite(value).all():
                raise BundleError(f"calibration.safetensors: {name} must be finite float32")
        return Calibration(**tensors, scorers=scorers, knots=knots)


_PLAIN = {f.name for f in fields(Calibration)} - {"scorers", "knots"}
# What a bundle may lack that was made before there was such a thing.
_NEWER = {"signature_whitening", "drift_tolerance"}


def _take_scorers(
    tensors: dict[str, npt.NDArray[Any]],
) -> tuple[dict[str, dict[str, npt.NDArray[Any]]], dict[str, FloatArray]]:
    """Move what belongs to scorers out of `tensors`: (tensors by scorer, knots by scorer)."""
    knots = {name[len(_KNOTS) :]: tensors.pop(name) for name in sorted(tensors) if name.startswith(_KNOTS)}
    scorers: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for full in [name for name in sorted(tensors) if name.startswith(_SCORER)]:
        scorer, _, name = full[len(_SCORER) :].rpartition(".")
        value = tensors.pop(full)
        if scorer not in knots or not name:
            raise BundleError(f"calibration.safetensors: {full} belongs to no scorer with knots")
        if value.dtype not in _SCORER_TYPES or not np.isfinite(value).all():
            raise BundleError(f"calibration.safetensors: {full} must be finite float16 or float32")
        scorers.setdefault(scorer, {})[name] = value
    for scorer, value in knots.items():
        if value.dtype != np.float32 or value.shape != (_KNOT_COUNT,) or not np.isfinite(value).all():
            raise BundleError(
                f"calibration.safetensors: knots of {scorer!r} must be {_KNOT_COUNT} finite float32"
            )
        if (value[1:] < value[:-1]).any():
            raise BundleError(f"calibration.safetensors: knots of {scorer!r} must ascend")
    return scorers, knots
