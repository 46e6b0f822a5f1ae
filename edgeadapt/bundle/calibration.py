"""What the bundle knows about its source data: kilobytes that let a device judge its own input.

All values are measured at compile time on the source fit split. See `normstats` and `signature`
for how they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from edgeadapt.errors import BundleError, WireError
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors

# As many as the file could hold if it had them.
_MOST_VALUES = 16 << 20


@dataclass(frozen=True, slots=True)
class Calibration:
    """Source statistics (all float32).

    Attributes:
        norm_mean: [P] mean of every norm layer's input, end to end (P = manifest.probe_channels), and of the
            signature's copy where there is one.
        norm_var: [P] its variance over images and positions.
        signature_mean: [S] mean over images of the signature features of `signature.features`.
        signature_std: [S] their standard deviation over images.
        class_signatures: [K, S] their mean over the images that the model takes for a class, drawn towards
            that over all images where those are few; a bundle made without it gets that one for all.
        prototypes: [K, D] mean embedding of each class.
        entropy_quantiles: [Q] quantiles 0..1 of the prediction entropy (nats) on source images.
    """

    norm_mean: FloatArray
    norm_var: FloatArray
    signature_mean: FloatArray
    signature_std: FloatArray
    class_signatures: FloatArray
    prototypes: FloatArray
    entropy_quantiles: FloatArray

    def encode(self) -> bytes:
        """Serialise for `calibration.safetensors`."""
        return encode_tensors({f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def decode(data: bytes) -> Calibration:
        """Parse `calibration.safetensors`; raises BundleError on missing, extra or non-finite tensors."""
        try:
            tensors = decode_tensors(data)
        except WireError as error:
            raise BundleError(f"calibration.safetensors: {error}") from error
        if "class_signatures" not in tensors and {"signature_mean", "prototypes"} <= set(tensors):
            classes, mean = len(np.atleast_1d(tensors["prototypes"])), tensors["signature_mean"]
            if classes * mean.size > _MOST_VALUES:
                raise BundleError(
                    f"calibration.safetensors: {classes} prototypes and a signature of {mean.size}: too many"
                )
            tensors["class_signatures"] = np.tile(mean, (classes, 1))
        names = {f.name for f in fields(Calibration)}
        if set(tensors) != names:
            odd = ", ".join(sorted(set(tensors) ^ names))
            raise BundleError(f"calibration.safetensors: missing or unknown tensors: {odd}")
        for name, value in tensors.items():
            if value.dtype != np.float32 or not np.isfinite(value).all():
                raise BundleError(f"calibration.safetensors: {name} must be finite float32")
        return Calibration(**tensors)
